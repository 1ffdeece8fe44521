// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The verifiers of every op but mk.linear. Element types, ranks and positive sizes are checked by
// the type constraints of MkTypes.td before these run.

#include "dialects/mk/Mk.h"

namespace mlir::mk {

static LogicalResult expectColumns(Operation *op, StringRef name, Value value, StringRef of,
                                   int64_t expected) {
  if (getColumns(value) == expected)
    return success();
  return op->emitOpError() << "expected " << name << " of " << expected << " columns as " << of
                           << ", found " << value.getType();
}

static LogicalResult expectSameColumns(Operation *op, Value input) {
  return expectColumns(op, "a result", op->getResult(0), "its input", getColumns(input));
}

static LogicalResult expectPositive(Operation *op, StringRef name, int64_t value) {
  if (value > 0)
    return success();
  return op->emitOpError() << "expected a positive " << name << ", found " << value;
}

static LogicalResult expectFinite(Operation *op, StringRef name, const APFloat &value) {
  if (value.isFinite())
    return success();
  return op->emitOpError() << "expected a finite " << name << ", found " << value.convertToDouble();
}

static LogicalResult expectFloat32(Operation *op, StringRef name, Value value) {
  if (cast<RankedTensorType>(value.getType()).getElementType().isF32())
    return success();
  return op->emitOpError() << "expected " << name << " in f32, found " << value.getType();
}

static LogicalResult expectHeads(Operation *op, StringRef name, int64_t columns, int64_t headDim) {
  if (columns % headDim == 0)
    return success();
  return op->emitOpError() << "expected " << name << " of whole heads of " << headDim
                           << " columns, found " << columns << " columns";
}

//===----------------------------------------------------------------------===//
// Weights and row-wise ops
//===----------------------------------------------------------------------===//

LogicalResult WeightOp::verify() {
  if (getSource().empty())
    return emitOpError("expected the name of a tensor of the checkpoint, found an empty one");
  if (ViewAttr view = getViewAttr();
      view && ArrayRef(view.getViewedShape()) != getType().getShape())
    return emitOpError() << "expected a result of " << view.getViewedShape()
                         << " as its view has, found " << getType();
  return success();
}

LogicalResult EmbeddingOp::verify() {
  int64_t rows = getTable().getType().getDimSize(0);
  if (int64_t offset = getOffset(); offset < 0 || offset >= rows)
    return emitOpError() << "expected an offset within the " << rows << " rows of its table, found "
                         << offset;
  return expectColumns(*this, "a result", getResult(), "its table", getColumns(getTable()));
}

static LogicalResult expectPositiveEps(Operation *op, const APFloat &eps) {
  if (eps.isFinite() && eps.convertToDouble() > 0)
    return success();
  return op->emitOpError() << "expected a finite eps > 0, found " << eps.convertToDouble();
}

LogicalResult RmsNormOp::verify() {
  if (failed(expectPositiveEps(*this, getEps())))
    return failure();
  if (Value gain = getGain();
      gain && failed(expectColumns(*this, "a gain", gain, "its input", getColumns(getInput()))))
    return failure();
  return expectSameColumns(*this, getInput());
}

LogicalResult LayerNormOp::verify() {
  if (failed(expectPositiveEps(*this, getEps())))
    return failure();
  for (auto [name, vector] : {std::pair("a gain", getGain()), std::pair("a bias", getBias())})
    if (vector && failed(expectColumns(*this, name, vector, "its input", getColumns(getInput()))))
      return failure();
  return expectSameColumns(*this, getInput());
}

LogicalResult HeadNormOp::verify() {
  int64_t headDim = getHeadDim();
  if (failed(expectPositiveEps(*this, getEps())))
    return failure();
  if (headDim <= 0 || headDim % 2 != 0)
    return emitOpError() << "expected an even, positive head_dim, found " << headDim;
  if (failed(expectHeads(*this, "an input", getColumns(getInput()), headDim)) ||
      failed(expectColumns(*this, "a gain", getGain(), "a head", headDim)))
    return failure();
  return expectSameColumns(*this, getInput());
}

LogicalResult RopeOp::verify() {
  int64_t headDim = getHeadDim();
  if (headDim <= 0 || headDim % 2 != 0)
    return emitOpError() << "expected an even, positive head_dim, found " << headDim;
  if (getPairs() > headDim / 2)
    return emitOpError() << "expected frequencies for at most half a head of " << headDim
                         << " columns, found " << getPairs();
  if (getDistance() != getPairs() && getDistance() != headDim / 2)
    return emitOpError() << "expected a partner half a head of " << headDim << " or " << getPairs()
                         << " columns apart, found " << getDistance();
  if (failed(expectHeads(*this, "an input", getColumns(getInput()), headDim)) ||
      failed(expectFinite(*this, "scale", getScale())))
    return failure();
  return expectSameColumns(*this, getInput());
}

int64_t RopeOp::getPairs() { return getColumns(getFrequencies()); }

LogicalResult AcrossRowsOp::verify() {
  if (!llvm::is_contained({"sum", "mean", "max", "min"}, getHow()))
    return emitOpError() << "expected how to be sum, mean, max or min, found " << getHowAttr();
  if (failed(expectFloat32(*this, "its input", getInput())) ||
      failed(expectFloat32(*this, "a result", getResult())))
    return failure();
  return expectSameColumns(*this, getInput());
}

LogicalResult ChooseOp::verify() {
  if (getColumns(getPredicate()) != 1)
    return emitOpError() << "expected a predicate of one column, found "
                         << getPredicate().getType();
  for (auto [name, value] :
       {std::pair("a predicate", getPredicate()), std::pair("the side that is taken", getTaken()),
        std::pair("the other side", getOther()), std::pair("a result", getResult())})
    if (failed(expectFloat32(*this, name, value)))
      return failure();
  for (Value side : {getTaken(), getOther()})
    if (failed(expectColumns(*this, "sides", side, "its result", getColumns(getResult()))))
      return failure();
  return success();
}

LogicalResult FinishOp::verify() {
  return getResults().empty() ? emitOpError("expected at least one result of the step") : success();
}

LogicalResult SelectRowsOp::verify() { return expectSameColumns(*this, getInput()); }

LogicalResult SliceOp::verify() {
  int64_t columns = getColumns(getInput()), width = getColumns(getResult()), offset = getOffset();
  if (width > columns || offset < 0 || offset > columns - width)
    return emitOpError() << "expected columns within the " << columns << " of its input, found "
                         << width << " from column " << offset;
  return success();
}

OpFoldResult SliceOp::fold(FoldAdaptor) {
  if (getInput().getType() == getType())
    return getInput();
  auto inner = getInput().getDefiningOp<SliceOp>();
  // A slice that also rounds must keep rounding.
  if (!inner || cast<RankedTensorType>(inner.getType()).getElementType() !=
                    cast<RankedTensorType>(inner.getInput().getType()).getElementType())
    return {};
  setOffset(getOffset() + inner.getOffset());
  getInputMutable().assign(inner.getInput());
  return getResult();
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

template <typename BinaryOp> static LogicalResult verifyBinary(BinaryOp op) {
  if (failed(
          expectColumns(op, "a second operand", op.getRhs(), "the first", getColumns(op.getLhs()))))
    return failure();
  return expectSameColumns(op, op.getLhs());
}

LogicalResult AddOp::verify() { return verifyBinary(*this); }
LogicalResult SubOp::verify() { return verifyBinary(*this); }
LogicalResult MulOp::verify() { return verifyBinary(*this); }
LogicalResult DivOp::verify() { return verifyBinary(*this); }

template <typename ScalarOp> static LogicalResult verifyScalar(ScalarOp op) {
  if (failed(expectFinite(op, "number", op.getNumber())))
    return failure();
  return expectSameColumns(op, op.getInput());
}

LogicalResult ScaleOp::verify() { return verifyScalar(*this); }
LogicalResult ShiftOp::verify() { return verifyScalar(*this); }

LogicalResult ExpOp::verify() { return expectSameColumns(*this, getInput()); }
LogicalResult TanhOp::verify() { return expectSameColumns(*this, getInput()); }
LogicalResult SigmoidOp::verify() { return expectSameColumns(*this, getInput()); }
LogicalResult ReluOp::verify() { return expectSameColumns(*this, getInput()); }
LogicalResult SiluOp::verify() { return expectSameColumns(*this, getInput()); }
LogicalResult GeluOp::verify() { return expectSameColumns(*this, getInput()); }
LogicalResult GeluTanhOp::verify() { return expectSameColumns(*this, getInput()); }

LogicalResult GluOp::verify() {
  if (failed(expectColumns(*this, "an up operand", getUp(), "its gate", getColumns(getGate()))))
    return failure();
  return expectSameColumns(*this, getGate());
}

LogicalResult TopkRouteOp::verify() {
  int64_t chosen = getChosen(), experts = getColumns(getLogits());
  if (chosen < 1 || chosen > experts)
    return emitOpError() << "expected 1 to " << experts << " chosen experts, found " << chosen;
  if (failed(expectFinite(*this, "scale", getScale())) ||
      failed(expectFloat32(*this, "logits", getLogits())) ||
      failed(expectFloat32(*this, "a result", getResult())))
    return failure();
  return expectSameColumns(*this, getLogits());
}

LogicalResult GateRowsOp::verify() {
  if (getColumns(getGate()) != 1)
    return emitOpError() << "expected a gate of one column, found " << getGate().getType();
  if (failed(expectFloat32(*this, "a gate", getGate())))
    return failure();
  return expectSameColumns(*this, getInput());
}

//===----------------------------------------------------------------------===//
// Attention and its cache
//===----------------------------------------------------------------------===//

LogicalResult KvCacheOp::verify() {
  if (static_cast<int64_t>(getLayer()) >= 0)
    return success();
  return emitOpError() << "expected a layer >= 0, found " << static_cast<int64_t>(getLayer());
}

LogicalResult KvAppendOp::verify() {
  auto cache = cast<CacheType>(getCache().getType());
  int64_t columns = cache.getHeads() * cache.getHeadDim();
  if (getType() != cache)
    return emitOpError() << "expected the grown cache to be " << cache << ", found " << getType();
  if (failed(expectColumns(*this, "keys", getKeys(), "the cache", columns)))
    return failure();
  return expectColumns(*this, "values", getValues(), "the cache", columns);
}

static LogicalResult expectWindow(Operation *op, int64_t window) {
  if (window >= 0)
    return success();
  return op->emitOpError() << "expected a window of positions, or 0 for none, found " << window;
}

static LogicalResult expectSinks(Operation *op, Value sinks, int64_t heads) {
  return sinks ? expectColumns(op, "sinks", sinks, "query heads", heads) : success();
}

template <typename AttentionLikeOp> static LogicalResult verifyQuery(AttentionLikeOp op) {
  auto cache = cast<CacheType>(op.getCache().getType());
  int64_t columns = getColumns(op.getQuery());
  if (!op.getSoftcap().isFinite() || op.getSoftcap().isNegative())
    return op.emitOpError() << "expected a finite softcap, or 0 for none, found "
                            << op.getSoftcap().convertToDouble();
  if (failed(expectWindow(op, op.getWindow())) ||
      failed(expectFinite(op, "scale", op.getScale())) ||
      failed(expectHeads(op, "a query", columns, cache.getHeadDim())))
    return failure();
  int64_t heads = columns / cache.getHeadDim();
  if (heads % cache.getHeads() != 0)
    return op.emitOpError() << "expected a multiple of the cache's " << cache.getHeads()
                            << " heads, found a query of " << heads << " heads";
  return success();
}

LogicalResult AttentionOp::verify() {
  if (failed(verifyQuery(*this)))
    return failure();
  int64_t headDim = getCache().getType().getHeadDim();
  if (failed(expectSinks(*this, getSinks(), getColumns(getQuery()) / headDim)))
    return failure();
  return expectSameColumns(*this, getQuery());
}

LogicalResult AttendOp::verify() {
  if (failed(verifyQuery(*this)) || failed(expectPositive(*this, "split", getSplit())) ||
      failed(expectPositive(*this, "number of splits", getSplits())) ||
      failed(expectFloat32(*this, "partial results", getResult())))
    return failure();
  auto cache = cast<CacheType>(getCache().getType());
  int64_t headDim = cache.getHeadDim();
  if (!getNewRows().empty() && getNewRows().size() != 2)
    return emitOpError() << "expected no new rows, or keys and values, found "
                         << getNewRows().size();
  SmallVector<Value> rows = {getQuery()};
  llvm::append_range(rows, getNewRows());
  if (!getPrologue().empty()) {
    if (getNewRows().empty())
      return emitOpError("expected keys and values of the step beside a prologue, found none");
    YieldOp yield = verifyRegion(*this, getPrologue(), "prologue", ValueRange(rows).getTypes());
    if (!yield)
      return failure();
    auto isRows = [](Type type) {
      auto tensor = dyn_cast<RankedTensorType>(type);
      return tensor && tensor.getRank() == 2;
    };
    if (yield.getNumOperands() != 3 || !llvm::all_of(yield->getOperandTypes(), isRows))
      return emitOpError() << "expected its prologue to yield a query, keys and values, found ("
                           << yield->getOperandTypes() << ")";
    rows.assign(yield->operand_begin(), yield->operand_end());
    if (failed(expectColumns(*this, "a query", rows[0], "its operand", getColumns(getQuery()))))
      return failure();
  }
  for (Value fresh : ArrayRef<Value>(rows).drop_front()) {
    if (failed(expectColumns(*this, "new rows", fresh, "the heads of the cache",
                             cache.getHeads() * headDim)))
      return failure();
    if (Type found = getElementTypeOrSelf(fresh.getType()); found != cache.getElementType())
      return emitOpError() << "expected new rows of " << cache.getElementType()
                           << " as in the cache, found " << found;
  }
  return expectColumns(*this, "a result", getResult(), "heads * splits * (head_dim + 2)",
                       getColumns(getQuery()) / headDim * getSplits() * (headDim + 2));
}

LogicalResult CombineOp::verify() {
  if (failed(expectPositive(*this, "head_dim", getHeadDim())) ||
      failed(expectPositive(*this, "split", getSplit())) ||
      failed(expectPositive(*this, "number of splits", getSplits())) ||
      failed(expectWindow(*this, getWindow())) ||
      failed(expectFloat32(*this, "partial results", getPartials())) ||
      failed(expectHeads(*this, "a result", getColumns(getResult()), getHeadDim())) ||
      failed(expectSinks(*this, getSinks(), getColumns(getResult()) / int64_t(getHeadDim()))))
    return failure();
  return expectColumns(*this, "partial results", getPartials(), "heads * splits * (head_dim + 2)",
                       getColumns(getResult()) / getHeadDim() * getSplits() * (getHeadDim() + 2));
}

//===----------------------------------------------------------------------===//
// The next token
//===----------------------------------------------------------------------===//

LogicalResult ArgmaxPartialOp::verify() {
  if (failed(expectPositive(*this, "block", getBlock())) ||
      failed(expectFloat32(*this, "a result", getResult())))
    return failure();
  return expectColumns(*this, "a result", getResult(), "two for each block",
                       2 * llvm::divideCeil(getColumns(getInput()), getBlock()));
}

LogicalResult ArgmaxReduceOp::verify() {
  if (getColumns(getPartials()) % 2 != 0)
    return emitOpError() << "expected pairs of columns, found " << getPartials().getType();
  return expectFloat32(*this, "partial results", getPartials());
}

LogicalResult SampleOp::verify() { return expectFloat32(*this, "logits", getLogits()); }

} // namespace mlir::mk
