// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-forward-kv: attention reads the keys and values of this step from rows, not from the cache.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FORWARDKV
#include "passes/Passes.h.inc"

// The same rows in the type of the cache: the op that makes them once more, rounded, since only
// accumulators and what is computed from them column by column stay in an epilogue.
static Value roundTo(Type element, Value rows, OpBuilder &builder) {
  auto type = cast<RankedTensorType>(rows.getType()).clone(element);
  if (rows.getType() == type)
    return rows;
  Operation *op = rows.getDefiningOp();
  if (!op || !(isElementwise(op) || isa<RopeOp, HeadNormOp, SliceOp>(op)))
    return builder.create<SliceOp>(rows.getLoc(), type, rows, /*offset=*/0);
  Operation *copy = builder.clone(*op);
  copy->getResult(0).setType(type);
  return copy->getResult(0);
}

static Operation *takeOver(Operation *op) {
  if (auto linear = dyn_cast<LinearOp>(op))
    return takeOver(linear);
  auto rowwise = cast<RowwiseOp>(op);
  auto taker = OpBuilder(op).create<RowwiseOp>(op->getLoc(), getResultsYield(op)->getOperandTypes(),
                                               rowwise.getInputs());
  taker->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  taker.getBody().takeBody(rowwise.getBody());
  return taker;
}

// The rows that the cache value stores in this step, beside it: results of the op that stores
// them, or plain values. None if it is as the step found it.
static SmallVector<Value> storedRows(Value cache) {
  auto element = cast<CacheType>(cache.getType()).getElementType();
  if (auto append = cache.getDefiningOp<KvAppendOp>()) {
    OpBuilder builder(append);
    return {roundTo(element, append.getKeys(), builder),
            roundTo(element, append.getValues(), builder)};
  }
  Operation *op = cache.getDefiningOp();
  YieldOp yield = getResultsYield(op);
  auto append = yield ? getYielded(cast<OpResult>(cache)).getDefiningOp<KvAppendOp>() : nullptr;
  if (!append)
    return {};
  OpBuilder builder(yield);
  SmallVector<Value> yielded(yield->getOperands());
  yielded.push_back(roundTo(element, append.getKeys(), builder));
  yielded.push_back(roundTo(element, append.getValues(), builder));
  yield->setOperands(yielded);
  Operation *wider = takeOver(op);
  op->replaceAllUsesWith(wider->getResults().drop_back(2));
  op->erase();
  return SmallVector<Value>(wider->getResults().take_back(2));
}

namespace {
struct ForwardKv : impl::ForwardKvBase<ForwardKv> {
  void runOnOperation() override {
    SmallVector<AttendOp> ops(getOperation().getFunctionBody().getOps<AttendOp>());
    for (AttendOp op : ops)
      if (op.getNewRows().empty())
        op.getNewRowsMutable().assign(storedRows(op.getCache()));
  }
};
} // namespace
} // namespace mlir::mk
