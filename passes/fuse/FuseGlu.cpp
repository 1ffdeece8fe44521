// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-glu: the gate, computed where the accumulators of gate and up meet.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Columns.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEGLU
#include "passes/Passes.h.inc"

namespace {
struct FuseGlu : impl::FuseGluBase<FuseGlu> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody())
      for (Operation &op : llvm::make_early_inc_range(block))
        if (isa<GluOp>(op) || pairsColumns(&op))
          fuseIntoEpilogue(&op);
  }
};
} // namespace
} // namespace mlir::mk
