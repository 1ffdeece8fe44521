// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-argmax: the largest logit of each tile, found while the tile is in registers.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEARGMAX
#include "passes/Passes.h.inc"

namespace {
struct FuseArgmax : impl::FuseArgmaxBase<FuseArgmax> {
  void runOnOperation() override {
    Region &body = getOperation().getFunctionBody();
    for (auto op : llvm::make_early_inc_range(body.getOps<ArgmaxPartialOp>()))
      fuseIntoEpilogue(op);
  }
};
} // namespace
} // namespace mlir::mk
