// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The ops with regions, products and mk.rowwise: what must fit together.

#include "dialects/mk/Mk.h"

namespace mlir::mk {

int64_t LinearOp::getInnerSize() { return getColumns(getWeights().front()); }

int64_t LinearOp::getOuterSize() {
  int64_t size = 0;
  for (Value weight : getWeights())
    size += cast<RankedTensorType>(weight.getType()).getDimSize(0);
  return size;
}

Type LinearOp::getWeightType() {
  return cast<RankedTensorType>(getWeights().front().getType()).getElementType();
}

static RankedTensorType getAccumulatorType(LinearOp linear) {
  return RankedTensorType::get({ShapedType::kDynamic, linear.getOuterSize()},
                               Float32Type::get(linear.getContext()));
}

Block &LinearOp::getOrCreatePrologue(OpBuilder &builder) {
  if (!getPrologue().empty())
    return getPrologue().front();
  OpBuilder::InsertionGuard guard(builder);
  Block *block =
      builder.createBlock(&getPrologue(), {}, {getInput().getType()}, {getInput().getLoc()});
  builder.create<YieldOp>(getLoc(), block->getArgument(0));
  return *block;
}

Block &LinearOp::getOrCreateEpilogue(OpBuilder &builder) {
  if (!getEpilogue().empty())
    return getEpilogue().front();
  OpBuilder::InsertionGuard guard(builder);
  RankedTensorType type = getAccumulatorType(*this);
  Block *block = builder.createBlock(&getEpilogue(), {}, {type}, {getLoc()});
  Value value = block->getArgument(0);
  // A narrower result rounds the accumulators; a slice of all columns says so inside the region.
  if (getResultTypes().front() != type)
    value = builder.create<SliceOp>(getLoc(), getResultTypes().front(), value, 0);
  builder.create<YieldOp>(getLoc(), value);
  return *block;
}

//===----------------------------------------------------------------------===//
// Verification
//===----------------------------------------------------------------------===//

YieldOp verifyRegion(Operation *op, Region &region, StringRef name, TypeRange arguments) {
  Block &block = region.front();
  if (block.getArgumentTypes() != arguments) {
    InFlightDiagnostic error = op->emitOpError() << "expected its " << name << " to have ";
    if (arguments.size() == 1)
      error << "one argument of type " << arguments.front();
    else
      error << "arguments of types (" << arguments << ")";
    error << ", found (" << block.getArgumentTypes() << ")";
    return nullptr;
  }
  auto yield = block.empty() ? YieldOp() : dyn_cast<YieldOp>(block.back());
  if (!yield) {
    op->emitOpError() << "expected its " << name << " to end in mk.yield";
    return nullptr;
  }
  for (Operation &inner : block)
    if (inner.getName().getDialectNamespace() != MkDialect::getDialectNamespace() ||
        isa<RowwiseOp, AdvanceOp, FinishOp>(inner) || multiplies(&inner)) {
      op->emitOpError() << "expected its " << name << " to hold row-wise mk ops, found "
                        << inner.getName();
      return nullptr;
    }
  return yield;
}

static LogicalResult verifyWeights(LinearOp linear) {
  if (linear.getWeights().empty())
    return linear.emitOpError("expected at least one weight");
  for (Value weight : linear.getWeights()) {
    auto type = cast<RankedTensorType>(weight.getType());
    if (type.getElementType() != linear.getWeightType() ||
        getColumns(type) != linear.getInnerSize())
      return linear.emitOpError() << "expected all weights to have the element type and column "
                                     "count of the first, "
                                  << linear.getWeights().front().getType() << ", found " << type;
  }
  return success();
}

static LogicalResult verifyPrologue(LinearOp linear) {
  Type rows = linear.getInput().getType();
  if (!linear.getPrologue().empty()) {
    YieldOp yield = verifyRegion(linear, linear.getPrologue(), "prologue", TypeRange(rows));
    if (!yield)
      return failure();
    if (yield.getNumOperands() != 1)
      return linear.emitOpError() << "expected its prologue to yield one tensor, found "
                                  << yield.getNumOperands();
    rows = yield.getOperand(0).getType();
  }
  auto type = dyn_cast<RankedTensorType>(rows);
  if (!type || type.getRank() != 2 || type.getDimSize(1) != linear.getInnerSize())
    return linear.emitOpError() << "expected rows of " << linear.getInnerSize()
                                << " columns to meet the weights, found " << rows;
  return success();
}

static LogicalResult verifyEpilogue(LinearOp linear) {
  RankedTensorType accumulators = getAccumulatorType(linear);
  if (linear.getEpilogue().empty()) {
    auto type = linear.getNumResults() == 1
                    ? dyn_cast<RankedTensorType>(linear.getResultTypes().front())
                    : RankedTensorType();
    if (!type || type.getShape() != accumulators.getShape() ||
        !(type.getElementType().isF32() || type.getElementType().isBF16()))
      return linear.emitOpError() << "expected one result of type " << accumulators
                                  << " (or bf16) without an epilogue, found ("
                                  << linear.getResultTypes() << ")";
    return success();
  }
  YieldOp yield = verifyRegion(linear, linear.getEpilogue(), "epilogue", TypeRange(accumulators));
  if (!yield)
    return failure();
  if (yield->getOperandTypes() != linear.getResultTypes())
    return linear.emitOpError() << "expected its epilogue to yield the results ("
                                << linear.getResultTypes() << "), found ("
                                << yield->getOperandTypes() << ")";
  return success();
}

LogicalResult LinearOp::verify() {
  if (failed(verifyWeights(*this)) || failed(verifyPrologue(*this)))
    return failure();
  return verifyEpilogue(*this);
}

//===----------------------------------------------------------------------===//
// mk.rowwise
//===----------------------------------------------------------------------===//

int64_t RowwiseOp::getFirstColumn(unsigned number) {
  int64_t columns = 0;
  for (Value input : getInputs().take_front(number))
    columns += mk::getColumns(input);
  return columns;
}

LogicalResult RowwiseOp::verify() {
  if (getInputs().empty())
    return emitOpError("expected at least one input");
  YieldOp yield = verifyRegion(*this, getBody(), "body", getInputs().getTypes());
  if (!yield)
    return failure();
  if (yield->getOperandTypes() != getResultTypes())
    return emitOpError() << "expected its body to yield the results (" << getResultTypes()
                         << "), found (" << yield->getOperandTypes() << ")";
  return success();
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

/// Both products of experts: `blocks` are the rows of K columns side by side that the input has,
/// `copies` how often the result has what the epilogue yields.
template <typename MoeOp>
static LogicalResult verifyExperts(MoeOp op, int64_t blocks, int64_t copies) {
  ArrayRef<int64_t> sizes = op.getWeight().getType().getShape();
  int64_t chosen = op.getChosen(), experts = sizes[0];
  if (chosen < 1 || chosen > experts)
    return op.emitOpError() << "expected 1 to " << experts << " chosen experts, found " << chosen;
  if (getColumns(op.getRoute()) != experts)
    return op.emitOpError() << "expected a route with a column for each of " << experts
                            << " experts, found " << op.getRoute().getType();
  if (getColumns(op.getInput()) != blocks * sizes[2])
    return op.emitOpError() << "expected rows of " << blocks * sizes[2]
                            << " columns to meet the weights, found " << op.getInput().getType();
  int64_t columns = sizes[1];
  if (!op.getEpilogue().empty()) {
    Type accumulators =
        RankedTensorType::get({ShapedType::kDynamic, columns}, Float32Type::get(op.getContext()));
    YieldOp yield = verifyRegion(op, op.getEpilogue(), "epilogue", TypeRange(accumulators));
    if (!yield)
      return failure();
    auto yielded = yield.getNumOperands() == 1
                       ? dyn_cast<RankedTensorType>(yield.getOperand(0).getType())
                       : RankedTensorType();
    if (!yielded || getElementTypeOrSelf(yielded) != getElementTypeOrSelf(op.getType()))
      return op.emitOpError()
             << "expected its epilogue to yield rows of the result's element type, " << op.getType()
             << ", found (" << yield->getOperandTypes() << ")";
    columns = getColumns(yielded);
  }
  if (getColumns(op.getType()) != copies * columns)
    return op.emitOpError() << "expected a result of " << copies * columns << " columns, found "
                            << op.getType();
  return success();
}

LogicalResult MoeLinearOp::verify() { return verifyExperts(*this, 1, getChosen()); }

LogicalResult MoeCombineOp::verify() { return verifyExperts(*this, getChosen(), 1); }

//===----------------------------------------------------------------------===//
// All
//===----------------------------------------------------------------------===//

bool multiplies(Operation *op) { return isa_and_nonnull<LinearOp, MoeLinearOp, MoeCombineOp>(op); }

MutableOperandRange getMultiplied(Operation *op) {
  if (auto linear = dyn_cast<LinearOp>(op))
    return linear.getWeightsMutable();
  constexpr unsigned weight = 2; // of both ops of experts
  return MutableOperandRange(op, weight, 1);
}

RankedTensorType getPackedType(Operation *op) {
  if (auto linear = dyn_cast<LinearOp>(op))
    return RankedTensorType::get({linear.getOuterSize(), linear.getInnerSize()},
                                 linear.getWeightType());
  return cast<RankedTensorType>(getMultiplied(op)[0].get().getType());
}

YieldOp getResultsYield(Operation *op) {
  Region *region = nullptr;
  if (auto rowwise = dyn_cast_or_null<RowwiseOp>(op))
    region = &rowwise.getBody();
  else if (multiplies(op))
    region = &op->getRegions().back();
  return region && !region->empty() ? cast<YieldOp>(region->front().getTerminator()) : YieldOp();
}

Value getYielded(OpResult result) {
  YieldOp yield = getResultsYield(result.getOwner());
  return yield ? yield.getOperand(result.getResultNumber()) : Value();
}

} // namespace mlir::mk
