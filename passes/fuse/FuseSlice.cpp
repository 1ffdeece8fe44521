// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-slice: one result for each slice of the accumulators.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSESLICE
#include "passes/Passes.h.inc"

static bool isReadBySlicesOnly(Value value) {
  return llvm::all_of(value.getUsers(), llvm::IsaPred<SliceOp>);
}

namespace {
struct FuseSlice : impl::FuseSliceBase<FuseSlice> {
  void runOnOperation() override {
    Region &body = getOperation().getFunctionBody();
    SmallVector<SliceOp> slices;
    for (auto slice : body.getOps<SliceOp>())
      if (isReadBySlicesOnly(slice.getInput()))
        slices.push_back(slice);
    for (SliceOp slice : slices)
      fuseIntoEpilogue(slice);
  }
};
} // namespace
} // namespace mlir::mk
