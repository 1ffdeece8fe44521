// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-residual: residual connections, biases and activations, computed on the accumulators.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Columns.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSERESIDUAL
#include "passes/Passes.h.inc"

namespace {
struct FuseResidual : impl::FuseResidualBase<FuseResidual> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody())
      for (Operation &op : llvm::make_early_inc_range(block))
        if (isElementwise(&op) && !isa<GluOp>(op) && !pairsColumns(&op))
          fuseIntoEpilogue(&op);
  }
};
} // namespace
} // namespace mlir::mk
