// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/gpu/SharedLayout.h"

#include "dialects/mk_cta/MkCta.h"

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
      if (await.getWhat() == mk_cta::RingWait::full)
        awaits.push_back(await);
    });
    if (awaits.empty())
      return;
    OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
    auto word = MemRefType::get({1}, b.getI32Type(), {}, kShared);
    Value sum = b.create<mk_cta::SharedOp>(function.getLoc(), word, SharedLayout::kRingWait);
    for (mk_cta::RingAwaitOp await : awaits)
      await.getTimedMutable().assign(sum);
  }
};
} // namespace
} // namespace mlir::mk
