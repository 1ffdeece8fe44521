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

namespace {
struct FuseNorm : impl::FuseNormBase<FuseNorm> {
  void runOnOperation() override {
    Region &body = getOperation().getFunctionBody();
    for (auto select : llvm::make_early_inc_range(body.getOps<SelectRowsOp>()))
      selectFirst(select);
    // Readers come first, so that of two neighbours in a row both move.
    for (Block &block : body)
      for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
        if (isa<RmsNormOp, LayerNormOp, SelectRowsOp>(op) && feedsOnlyLinears(&op))
          fuseIntoPrologues(&op);
  }
};
} // namespace
} // namespace mlir::mk
