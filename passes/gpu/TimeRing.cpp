// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"

#include "dialects/mk_cta/MkCta.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::mk {
#define GEN_PASS_DEF_TIMERING
#include "passes/Passes.h.inc"

namespace {
struct TimeRing : impl::TimeRingBase<TimeRing> {
  void runOnOperation() override {
    // Private functions are the bodies of kinds; the loader, which waits in the kernel, is not
    // meant.
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function.isPrivate() && !function.isExternal())
        time(function);
  }

  void time(func::FuncOp function) {
    SmallVector<mk_cta::RingAwaitOp> awaits;
    function.walk([&](mk_cta::RingAwaitOp await) {
      if (!await.getQuit())
        awaits.push_back(await);
    });
    if (awaits.empty())
      return;
    // The arguments that mk-lower-gpu-kinds gives a body.
    Value context = function.getArgument(0), number = function.getArgument(2),
          worker = function.getArgument(3), step = function.getArgument(4);
    OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
    Value line = b.create<mk_cta::TraceLineOp>(function.getLoc(), context, worker, step, number);
    for (mk_cta::RingAwaitOp await : awaits) {
      b.setInsertionPoint(await);
      b.create<mk_cta::RingAwaitTimedOp>(await.getLoc(), await.getBarriers(), await.getSlot(),
                                         await.getParity(), line);
      Value landed = b.create<arith::ConstantIntOp>(await.getLoc(), 1, 1);
      await.replaceAllUsesWith(landed);
      await.erase();
    }
  }
};
} // namespace
} // namespace mlir::mk
