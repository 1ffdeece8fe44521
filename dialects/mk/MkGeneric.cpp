// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk.generic: what its region may hold, and the proof that every column number lies within its
// input.

#include "dialects/mk/MkGeneric.h"
#include "dialects/mk/Mk.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace mlir::mk {

//===----------------------------------------------------------------------===//
// Column numbers
//===----------------------------------------------------------------------===//

static int64_t floorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

std::optional<ColumnRange> getColumnRange(AffineExpr expr, ArrayRef<int64_t> sizes) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return ColumnRange{constant.getValue(), constant.getValue()};
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return ColumnRange{0, sizes[dim.getPosition()] - 1};
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  std::optional<ColumnRange> a = getColumnRange(binary.getLHS(), sizes),
                             b = getColumnRange(binary.getRHS(), sizes);
  if (!a || !b)
    return std::nullopt;
  ColumnRange result{0, 0};
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    result = {a->low + b->low, a->high + b->high};
    break;
  case AffineExprKind::Mul:
    if (b->low != b->high)
      return std::nullopt;
    result = {std::min(a->low * b->low, a->high * b->low),
              std::max(a->low * b->low, a->high * b->low)};
    break;
  case AffineExprKind::FloorDiv:
    if (b->low != b->high || b->low <= 0 || a->low < 0)
      return std::nullopt;
    result = {floorDivide(a->low, b->low), floorDivide(a->high, b->low)};
    break;
  case AffineExprKind::Mod:
    if (b->low != b->high || b->low <= 0 || a->low < 0)
      return std::nullopt;
    result = a->low / b->low == a->high / b->low ? ColumnRange{a->low % b->low, a->high % b->low}
                                                 : ColumnRange{0, b->low - 1};
    break;
  default:
    return std::nullopt;
  }
  if (result.low < INT32_MIN || result.high > INT32_MAX)
    return std::nullopt;
  return result;
}

static LogicalResult verifyMap(GenericOp op, unsigned number) {
  AffineMap map = op.getMap(number);
  Type input = op.getInputs()[number].getType();
  auto type = cast<RankedTensorType>(input);
  bool isInteger = type.getElementType().isInteger(32);
  int64_t columns = isInteger ? 1 : getColumns(input);
  if (map.getNumDims() != op.getSizes().size() || map.getNumSymbols() || map.getNumResults() != 1)
    return op.emitOpError() << "expected map " << number << " to make one column number of "
                            << op.getSizes().size() << " numbers, found " << op.getMaps()[number];
  std::optional<ColumnRange> range = getColumnRange(map.getResult(0), op.getSizes());
  if (!range)
    return op.emitOpError() << "expected map " << number
                            << " to divide nothing negative and to stay within 32 bits, found "
                            << op.getMaps()[number];
  if (range->low < 0 || range->high >= columns)
    return op.emitOpError() << "expected map " << number << " within the " << columns
                            << " columns of its input, found columns " << range->low << " .. "
                            << range->high;
  return success();
}

//===----------------------------------------------------------------------===//
// The region
//===----------------------------------------------------------------------===//

static bool isScalar(Type type) { return type.isF32() || type.isInteger(32) || type.isInteger(1); }

static bool mayStandInRegion(Operation &op) {
  return isa<IterationOp, ElementOp>(op) ||
         isa<arith::ConstantOp, arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp,
             arith::NegFOp, arith::MaximumFOp, arith::MinimumFOp, arith::CmpFOp, arith::CmpIOp,
             arith::SelectOp, arith::AndIOp, arith::OrIOp, arith::XOrIOp, arith::AddIOp,
             arith::SubIOp, arith::MulIOp, arith::ShRUIOp, arith::BitcastOp, arith::SIToFPOp,
             arith::FPToSIOp>(op) ||
         isa<math::AbsFOp, math::CeilOp, math::CosOp, math::ErfOp, math::ExpOp, math::ExpM1Op,
             math::FloorOp, math::LogOp, math::Log1pOp, math::PowFOp, math::RoundEvenOp,
             math::RsqrtOp, math::SinOp, math::SqrtOp, math::TanhOp, math::TruncOp>(op);
}

static LogicalResult verifyRegion(GenericOp op) {
  Block &block = op.getBody().front();
  SmallVector<Type> expected;
  for (Value input : op.getInputs()) {
    bool isInteger = cast<RankedTensorType>(input.getType()).getElementType().isInteger(32);
    Builder builder(op.getContext());
    expected.push_back(isInteger ? Type(builder.getI32Type()) : Type(builder.getF32Type()));
  }
  llvm::append_range(expected, op.getTables().getTypes());
  if (!llvm::equal(block.getArgumentTypes(), expected))
    return op.emitOpError() << "expected its region to have arguments (" << expected << "), found ("
                            << block.getArgumentTypes() << ")";
  auto yield = block.empty() ? YieldOp() : dyn_cast<YieldOp>(block.back());
  if (!yield || yield.getNumOperands() != 1 || !yield.getOperand(0).getType().isF32())
    return op.emitOpError() << "expected its region to end in mk.yield of one f32";
  for (Operation &inner : block.without_terminator()) {
    if (!mayStandInRegion(inner) || inner.getNumResults() != 1 ||
        !isScalar(inner.getResult(0).getType()))
      return op.emitOpError() << "expected its region to hold scalar arithmetic, found "
                              << inner.getName();
    for (Value operand : inner.getOperands())
      if (!isScalar(operand.getType()) && !isa<ElementOp>(inner))
        return op.emitOpError() << "expected scalars in its region, found an operand "
                                << operand.getType() << " of " << inner.getName();
  }
  return success();
}

LogicalResult GenericOp::verify() {
  if (getInputs().size() != getMaps().size())
    return emitOpError() << "expected a map for each of " << getInputs().size() << " inputs, found "
                         << getMaps().size();
  int64_t reductions = getReductions().value_or(0), rank = getSizes().size();
  if (reductions < 0 || reductions > rank || (getReductions() && !reductions))
    return emitOpError() << "expected 1 to " << rank << " reductions, found " << reductions;
  if (getReductions().has_value() != getCombiner().has_value() ||
      (getCombiner() &&
       !llvm::is_contained({"sum", "product", "max", "min"}, StringRef(*getCombiner()))))
    return emitOpError() << "expected reductions by \"sum\", \"product\", \"max\" or \"min\"";
  int64_t points = 1, columns = 1;
  for (auto [i, size] : llvm::enumerate(getSizes())) {
    if (size <= 0 || size > INT32_MAX || points > INT32_MAX)
      return emitOpError() << "expected positive sizes of less than 2^31 points, found "
                           << getSizes();
    points *= size;
    columns = int64_t(i) < getNumParallel() ? points : columns;
  }
  if (points > INT32_MAX)
    return emitOpError() << "expected positive sizes of less than 2^31 points, found "
                         << getSizes();
  if (columns != getColumns(getResult()))
    return emitOpError() << "expected a result of " << columns
                         << " columns as its parallel sizes make, found " << getType();
  auto hasRows = [](Value value) {
    return cast<RankedTensorType>(value.getType()).isDynamicDim(0);
  };
  if (llvm::none_of(getOperands(), hasRows))
    return emitOpError() << "expected an operand that has rows";
  for (unsigned i = 0; i < getInputs().size(); ++i)
    if (failed(verifyMap(*this, i)))
      return failure();
  return verifyRegion(*this);
}

LogicalResult IterationOp::verify() {
  int64_t dim = getDim(), rank = cast<GenericOp>((*this)->getParentOp()).getSizes().size();
  if (dim >= 0 && dim < rank)
    return success();
  return emitOpError() << "expected one of " << rank << " numbers, found " << dim;
}

} // namespace mlir::mk
