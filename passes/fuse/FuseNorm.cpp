// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-norm: norms and row selection, computed by the linears that read them.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Prologue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSENORM
#include "passes/Passes.h.inc"

// Both work row by row: rows are selected first, so that only those that are needed are scaled.
static void selectFirst(SelectRowsOp select) {
  Operation *norm = select.getInput().getDefiningOp();
  if (!isa_and_nonnull<RmsNormOp, LayerNormOp>(norm) || !norm->hasOneUse() ||
      norm->getResult(0).getType() != select.getType())
    return;
  OpBuilder builder(select);
  Value input = norm->getOperand(0);
  Value rows =
      builder.create<SelectRowsOp>(select.getLoc(), input.getType(), input, select.getRows());
  Operation *scaled = builder.clone(*norm);
  scaled->setOperand(0, rows);
  select.replaceAllUsesWith(scaled->getResult(0));
  select.erase();
  norm->erase();
}

// The linears among the readers of a norm, if all others are products with experts, which have no
// prologue. A router is on the way to these: it need not wait for the rows that they read.
static SmallVector<LinearOp> linearsBesideExperts(Operation *norm) {
  SmallVector<LinearOp> linears;
  for (OpOperand &use : norm->getUses()) {
    auto linear = dyn_cast<LinearOp>(use.getOwner());
    if (linear && &use == &linear.getInputMutable())
      linears.push_back(linear);
    else if (!isa<MoeLinearOp>(use.getOwner()) || use.getOperandNumber() != 0)
      return {};
  }
  return linears;
}

// The rows of the experts are made while their router is waited for: behind the linears that come
// before the first reader.
static void makeLate(Operation *norm, ArrayRef<LinearOp> linears) {
  Operation *last = norm;
  for (Operation *linear : linears)
    if (last->isBeforeInBlock(linear) && llvm::all_of(norm->getUsers(), [&](Operation *user) {
          return linear->isBeforeInBlock(user);
        }))
      last = linear;
  if (last != norm)
    norm->moveAfter(last);
}

namespace {
struct FuseNorm : impl::FuseNormBase<FuseNorm> {
  void runOnOperation() override {
    Region &body = getOperation().getFunctionBody();
    for (auto select : llvm::make_early_inc_range(body.getOps<SelectRowsOp>()))
      selectFirst(select);
    // Readers come first, so that of two neighbours in a row both move.
    for (Block &block : body)
      for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
        if (isa<RmsNormOp, LayerNormOp, SelectRowsOp>(op) && feedsOnlyLinears(&op)) {
          fuseIntoPrologues(&op);
        } else if (isa<RmsNormOp>(op)) {
          SmallVector<LinearOp> linears = linearsBesideExperts(&op);
          if (linears.empty())
            continue;
          Operation *copy = OpBuilder(&op).clone(op);
          for (LinearOp linear : linears)
            linear.getInputMutable().assign(copy->getResult(0));
          fuseIntoPrologues(copy);
          makeLate(&op, linears);
        }
  }
};
} // namespace
} // namespace mlir::mk
