// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-round-norm-rows: rows that a norm before a product reads, also in bfloat16.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_ROUNDNORMROWS
#include "passes/Passes.h.inc"

// Whether all that the linear does with its row is to scale it and round it for its weights.
static bool onlyScales(LinearOp linear) {
  if (!linear.getWeightType().isBF16() || linear.getPrologue().empty())
    return false;
  Value row = linear.getPrologue().getArgument(0);
  while (row.hasOneUse()) {
    Operation *user = *row.user_begin();
    if (auto select = dyn_cast<SelectRowsOp>(user))
      row = select;
    else
      return isa<RmsNormOp>(user) && user->getOperand(0) == row && user->hasOneUse() &&
             isa<YieldOp>(*user->user_begin());
  }
  return false;
}

static void roundRows(Value rows) {
  Operation *producer = rows.getDefiningOp();
  auto type = cast<RankedTensorType>(rows.getType());
  auto rounded = type.clone(BFloat16Type::get(type.getContext()));
  SmallVector<LinearOp> readers;
  for (OpOperand &use : rows.getUses())
    if (auto linear = dyn_cast<LinearOp>(use.getOwner());
        linear && &use == &linear.getInputMutable() && onlyScales(linear))
      readers.push_back(linear);
  OpBuilder builder(producer->getContext());
  builder.setInsertionPointAfter(producer);
  Operation *copy;
  if (isa<EmbeddingOp>(producer)) {
    copy = builder.clone(*producer);
    copy->getResult(0).setType(rounded);
  } else {
    copy = builder.create<SliceOp>(rows.getLoc(), rounded, rows, /*offset=*/0);
  }
  for (LinearOp linear : readers) {
    linear.getInputMutable().assign(copy->getResult(0));
    linear.getPrologue().getArgument(0).setType(rounded);
  }
  if (isa<EmbeddingOp>(producer)) {
    if (rows.use_empty())
      producer->erase();
  } else {
    fuseIntoEpilogue(copy);
  }
}

namespace {
struct RoundNormRows : impl::RoundNormRowsBase<RoundNormRows> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody())
      for (Operation &op : llvm::make_early_inc_range(block)) {
        auto linear = dyn_cast<LinearOp>(op);
        if (!linear || !onlyScales(linear))
          continue;
        Value rows = linear.getInput();
        if (rows.getDefiningOp() && cast<RankedTensorType>(rows.getType()).getElementType().isF32())
          roundRows(rows);
      }
  }
};
} // namespace
} // namespace mlir::mk
