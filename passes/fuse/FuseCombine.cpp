// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-combine: the join of attention ranges, computed by the output projection.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Prologue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSECOMBINE
#include "passes/Passes.h.inc"

namespace {
struct FuseCombine : impl::FuseCombineBase<FuseCombine> {
  void runOnOperation() override {
    Region &body = getOperation().getFunctionBody();
    for (auto op : llvm::make_early_inc_range(body.getOps<CombineOp>()))
      if (op->hasOneUse() && feedsOnlyLinears(op))
        fuseIntoPrologues(op);
  }
};
} // namespace
} // namespace mlir::mk
