// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-rope: rotation and the store of keys and values, computed on the accumulators.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEROPE
#include "passes/Passes.h.inc"

namespace {
struct FuseRope : impl::FuseRopeBase<FuseRope> {
  void runOnOperation() override {
    Region &body = getOperation().getFunctionBody();
    for (auto op : llvm::make_early_inc_range(body.getOps<RopeOp>()))
      fuseIntoEpilogue(op);
    for (auto op : llvm::make_early_inc_range(body.getOps<KvAppendOp>()))
      fuseIntoEpilogue(op);
  }
};
} // namespace
} // namespace mlir::mk
