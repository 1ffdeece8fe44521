// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/cpu/GenericRegion.h"
#include "passes/cpu/ScalarMath.h"

using namespace mlir;
using namespace mlir::mk;

static Value binary(CodeBuilder &b, AffineExprKind kind, Value x, Value y) {
  switch (kind) {
  case AffineExprKind::Add:
    return b.createOrFold<arith::AddIOp>(x, y);
  case AffineExprKind::Mul:
    return b.createOrFold<arith::MulIOp>(x, y);
  case AffineExprKind::FloorDiv: // of nothing negative: the verifier has seen to it
    return b.createOrFold<arith::DivUIOp>(x, y);
  case AffineExprKind::Mod:
    return b.createOrFold<arith::RemUIOp>(x, y);
  default:
    llvm_unreachable("the verifier lets nothing else pass");
  }
}

Value mk::makeAffine(CodeBuilder &b, AffineExpr expr, ArrayRef<Value> dims) {
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dims[dim.getPosition()];
  Type type = dims.empty() ? b.getIndexType() : dims.front().getType();
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return b.constant(type, double(constant.getValue()));
  auto both = cast<AffineBinaryOpExpr>(expr);
  return binary(b, expr.getKind(), makeAffine(b, both.getLHS(), dims),
                makeAffine(b, both.getRHS(), dims));
}

SmallVector<Value> mk::splitColumn(CodeBuilder &b, GenericOp op, Value column) {
  ArrayRef<int64_t> sizes = op.getParallelSizes();
  SmallVector<Value> dims(sizes.size());
  auto c = [&](int64_t value) { return b.constant(column.getType(), double(value)); };
  int64_t stride = 1;
  for (int64_t i = int64_t(sizes.size()) - 1; i >= 0; --i) {
    Value dim = stride == 1 ? column : b.createOrFold<arith::DivUIOp>(column, c(stride));
    stride *= sizes[i];
    dims[i] = i == 0 ? dim : b.createOrFold<arith::RemUIOp>(dim, c(sizes[i]));
  }
  return dims;
}

std::optional<int64_t> mk::getLaneStride(GenericOp op, AffineExpr expr, int64_t width) {
  ArrayRef<int64_t> sizes = op.getParallelSizes();
  MLIRContext *context = op.getContext();
  AffineExpr start = expr, moved = getAffineConstantExpr(0, context);
  int64_t block = 1, dim = sizes.size();
  // The innermost numbers that such neighbours differ in, and what the others leave of the
  // expression.
  while (dim > 0 && block % width != 0) {
    --dim;
    AffineExpr number = getAffineDimExpr(dim, context);
    start = start.replace(number, getAffineConstantExpr(0, context));
    moved = moved + number * block;
    block *= sizes[dim];
  }
  unsigned rank = op.getSizes().size();
  for (int64_t stride : {1, 0}) {
    AffineExpr rest = simplifyAffineExpr(expr - start - moved * stride, rank, 0);
    if (rest == getAffineConstantExpr(0, context))
      return stride;
  }
  return std::nullopt;
}

/// The number of the region at a point.
static Value makeRegion(CodeBuilder &b, GenericOp op, const RegionPoint &point) {
  Block &block = op.getBody().front();
  DenseMap<Value, Value> values;
  unsigned inputs = op.getInputs().size();
  for (unsigned i = 0; i < inputs; ++i)
    if (!block.getArgument(i).use_empty())
      values[block.getArgument(i)] = point.input(i);
  for (Operation &inner : block.without_terminator()) {
    Value &result = values[inner.getResult(0)], made;
    if (auto constant = dyn_cast<arith::ConstantOp>(inner)) {
      Type type = withElementType(point.type, constant.getType());
      TypedAttr number = constant.getValue();
      if (auto vector = dyn_cast<VectorType>(type))
        number = DenseElementsAttr::get(vector, Attribute(number));
      made = b.create<arith::ConstantOp>(number);
    } else if (auto iteration = dyn_cast<IterationOp>(inner)) {
      made = point.iteration(iteration.getDim());
    } else if (auto element = dyn_cast<ElementOp>(inner)) {
      unsigned table = cast<BlockArgument>(element.getTable()).getArgNumber() - inputs;
      made = point.element(table, values.lookup(element.getIndex()));
    } else {
      SmallVector<Value> operands;
      for (Value operand : inner.getOperands())
        operands.push_back(values.lookup(operand));
      made = makeScalarOp(b, &inner, operands);
    }
    result = made;
  }
  return values.lookup(block.getTerminator()->getOperand(0));
}

Value mk::makeReductions(CodeBuilder &b, GenericOp op, const RegionPoint &point,
                         SmallVectorImpl<Value> &counters) {
  ArrayRef<int64_t> sizes = op.getReductionSizes();
  if (sizes.empty())
    return makeRegion(b, op, point);
  StringRef combiner = *op.getCombiner();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  double neutral = combiner == "sum"       ? 0.0
                   : combiner == "product" ? 1.0
                   : combiner == "max"     ? -infinity
                                           : infinity;
  auto combine = [&](Value a, Value c) -> Value {
    if (combiner == "sum")
      return b.fadd(a, c);
    if (combiner == "product")
      return b.fmul(a, c);
    if (combiner == "max")
      return b.create<arith::MaximumFOp>(a, c);
    return b.create<arith::MinimumFOp>(a, c);
  };
  std::function<Value(unsigned, Value)> nest = [&](unsigned depth, Value sum) -> Value {
    if (depth == sizes.size())
      return combine(sum, makeRegion(b, op, point));
    return b.loop(b.index(0), b.index(sizes[depth]), b.index(1), sum,
                  [&](Value counter, ValueRange carried) {
                    counters.push_back(counter);
                    Value next = nest(depth + 1, carried[0]);
                    counters.pop_back();
                    return SmallVector<Value>{next};
                  })[0];
  };
  return nest(0, b.constant(point.type, neutral));
}
