// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-generic: a loop nest that makes numbers for another one alone, inside that.

#include "dialects/mk/Mk.h"
#include "dialects/mk/MkGeneric.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEGENERIC
#include "passes/Passes.h.inc"

static constexpr unsigned kMostOperands = 13; // of an instruction, with the result

/// The terms of a sum.
static void collectTerms(AffineExpr expr, SmallVectorImpl<AffineExpr> &terms) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (binary && expr.getKind() == AffineExprKind::Add) {
    collectTerms(binary.getLHS(), terms);
    collectTerms(binary.getRHS(), terms);
  } else {
    terms.push_back(expr);
  }
}

/// A quotient or remainder where what does not divide is less than the divisor, for any numbers of
/// the nest: how the parts of a column number are found again that was made of them.
static AffineExpr simplify(AffineExpr expr, ArrayRef<int64_t> sizes) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return expr;
  AffineExpr left = simplify(binary.getLHS(), sizes), right = binary.getRHS();
  auto divisor = dyn_cast<AffineConstantExpr>(right);
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return left + simplify(right, sizes);
  case AffineExprKind::Mul:
    return left * simplify(right, sizes);
  case AffineExprKind::FloorDiv:
  case AffineExprKind::Mod: {
    int64_t by = divisor ? divisor.getValue() : 0;
    if (by <= 0)
      return expr;
    SmallVector<AffineExpr> terms;
    collectTerms(left, terms);
    AffineExpr zero = getAffineConstantExpr(0, expr.getContext()), quotient = zero, rest = zero;
    for (AffineExpr term : terms)
      if (term.isMultipleOf(by))
        quotient = quotient + term.floorDiv(by);
      else
        rest = rest + term;
    std::optional<ColumnRange> range = getColumnRange(rest, sizes);
    if (range && range->low >= 0 && range->high < by)
      return expr.getKind() == AffineExprKind::Mod ? rest : quotient;
    return expr.getKind() == AffineExprKind::Mod ? left % by : left.floorDiv(by);
  }
  default:
    return expr;
  }
}

static int64_t countPoints(ArrayRef<int64_t> sizes) {
  int64_t points = 1;
  for (int64_t size : sizes)
    points *= size;
  return points;
}

/// The numbers of the producer's nest, as expressions of the reader's.
static SmallVector<AffineExpr> getNumbers(GenericOp producer, GenericOp reader, AffineExpr column) {
  ArrayRef<int64_t> sizes = producer.getSizes();
  SmallVector<AffineExpr> numbers(sizes.size());
  int64_t stride = 1;
  for (int64_t i = int64_t(sizes.size()) - 1; i >= 0; --i) {
    AffineExpr number = column.floorDiv(stride);
    stride *= sizes[i];
    numbers[i] = simplify(i == 0 ? number : number % sizes[i], reader.getSizes());
  }
  return numbers;
}

/// Whether the region can ask for its numbers at their new places.
static bool canRename(GenericOp producer, ArrayRef<AffineExpr> numbers) {
  WalkResult result = producer.walk([&](IterationOp iteration) {
    AffineExpr number = numbers[iteration.getDim()];
    return isa<AffineDimExpr, AffineConstantExpr>(number) ? WalkResult::advance()
                                                          : WalkResult::interrupt();
  });
  return !result.wasInterrupted();
}

/// The op with the producer of its input number `index` inside, or null.
static GenericOp fuse(GenericOp reader, unsigned index) {
  auto producer = reader.getInputs()[index].getDefiningOp<GenericOp>();
  if (!producer || producer.getReductions() || !producer->hasOneUse() ||
      producer->getBlock() != reader->getBlock() ||
      !getElementTypeOrSelf(producer.getType()).isF32() ||
      countPoints(reader.getSizes()) > getColumns(producer.getResult()))
    return nullptr;
  unsigned rank = reader.getSizes().size();
  SmallVector<AffineExpr> numbers = getNumbers(producer, reader, reader.getMap(index).getResult(0));
  if (!canRename(producer, numbers))
    return nullptr;

  SmallVector<Value> inputs, tables(reader.getTables());
  SmallVector<AffineMap> maps;
  auto place = [&](Value value, AffineMap map) -> unsigned { // among the new inputs
    for (auto [i, pair] : llvm::enumerate(llvm::zip_equal(inputs, maps)))
      if (std::get<0>(pair) == value && std::get<1>(pair) == map)
        return i;
    inputs.push_back(value);
    maps.push_back(map);
    return inputs.size() - 1;
  };
  SmallVector<unsigned> ofReader, ofProducer;
  for (auto [i, input] : llvm::enumerate(reader.getInputs()))
    ofReader.push_back(i == index ? 0 : place(input, reader.getMap(i)));
  for (auto [i, input] : llvm::enumerate(producer.getInputs())) {
    AffineExpr column =
        simplify(producer.getMap(i).getResult(0).replaceDims(numbers), reader.getSizes());
    auto type = cast<RankedTensorType>(input.getType());
    int64_t columns = type.getElementType().isInteger(32) ? 1 : type.getShape().back();
    std::optional<ColumnRange> range = getColumnRange(column, reader.getSizes());
    if (!range || range->low < 0 || range->high >= columns)
      return nullptr;
    ofProducer.push_back(place(input, AffineMap::get(rank, 0, column)));
  }
  unsigned firstTable = tables.size();
  llvm::append_range(tables, producer.getTables());
  if (inputs.size() + tables.size() > kMostOperands)
    return nullptr;

  OpBuilder builder(reader);
  Location location = builder.getFusedLoc({reader.getLoc(), producer.getLoc()});
  auto fused = builder.create<GenericOp>(
      location, reader.getType(), inputs, tables, reader.getSizes(), reader.getReductionsAttr(),
      reader.getCombinerAttr(), builder.getAffineMapArrayAttr(maps));
  Block *block = builder.createBlock(&fused.getBody());
  for (Value value : inputs) {
    bool isInteger = cast<RankedTensorType>(value.getType()).getElementType().isInteger(32);
    block->addArgument(isInteger ? Type(builder.getI32Type()) : Type(builder.getF32Type()),
                       location);
  }
  for (Value table : tables)
    block->addArgument(table.getType(), location);
  auto take = [&](GenericOp from, IRMapping &mapping) -> Value { // what its region yields
    for (Operation &inner : from.getBody().front().without_terminator()) {
      auto iteration = dyn_cast<IterationOp>(inner);
      if (!iteration || from == reader) {
        builder.clone(inner, mapping);
        continue;
      }
      AffineExpr number = numbers[iteration.getDim()];
      Value value;
      if (auto dim = dyn_cast<AffineDimExpr>(number))
        value = builder.create<IterationOp>(inner.getLoc(),
                                            builder.getI64IntegerAttr(dim.getPosition()));
      else
        value = builder.create<arith::ConstantOp>(
            inner.getLoc(), builder.getI32IntegerAttr(cast<AffineConstantExpr>(number).getValue()));
      mapping.map(iteration.getResult(), value);
    }
    return mapping.lookup(from.getBody().front().getTerminator()->getOperand(0));
  };
  IRMapping inner, outer;
  for (auto [i, at] : llvm::enumerate(ofProducer))
    inner.map(producer.getBody().getArgument(i), block->getArgument(at));
  for (unsigned i = 0; i < producer.getTables().size(); ++i)
    inner.map(producer.getBody().getArgument(producer.getInputs().size() + i),
              block->getArgument(inputs.size() + firstTable + i));
  Value made = take(producer, inner);
  for (auto [i, at] : llvm::enumerate(ofReader))
    outer.map(reader.getBody().getArgument(i), i == index ? made : block->getArgument(at));
  for (unsigned i = 0; i < firstTable; ++i)
    outer.map(reader.getBody().getArgument(reader.getInputs().size() + i),
              block->getArgument(inputs.size() + i));
  Value result = take(reader, outer);
  builder.create<YieldOp>(location, result);
  reader.getResult().replaceAllUsesWith(fused.getResult());
  reader.erase();
  producer.erase();
  return fused;
}

namespace {
struct FuseGeneric : impl::FuseGenericBase<FuseGeneric> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody()) {
      // In order: a producer, which comes before its reader, has taken in its own by then.
      SmallVector<GenericOp> readers(block.getOps<GenericOp>());
      for (GenericOp reader : readers) {
        for (unsigned i = 0; i < reader.getInputs().size();)
          if (GenericOp fused = fuse(reader, i)) {
            reader = fused;
            i = 0;
          } else {
            ++i;
          }
      }
    }
  }
};
} // namespace
} // namespace mlir::mk
