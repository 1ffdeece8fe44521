// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-split-argmax: the largest logit as that of each tile and their join.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_SPLITARGMAX
#include "passes/Passes.h.inc"

static void splitArgmax(ArgmaxOp op, TargetAttr target) {
  OpBuilder builder(op);
  // The height of a weight tile; on a GPU, where tiles are low and one CTA reads all partial
  // maxima, of four.
  int64_t block = (target.isGpu() ? 8 : 2) * target.getLanes();
  int64_t blocks = llvm::divideCeil(getColumns(op.getInput()), block);
  auto type = RankedTensorType::get({ShapedType::kDynamic, 2 * blocks}, builder.getF32Type());
  Value partials = builder.create<ArgmaxPartialOp>(op.getLoc(), type, op.getInput(), block);
  op.replaceAllUsesWith(
      builder.create<ArgmaxReduceOp>(op.getLoc(), op.getType(), partials).getResult());
  op.erase();
}

namespace {
struct SplitArgmax : impl::SplitArgmaxBase<SplitArgmax> {
  void runOnOperation() override {
    SmallVector<ArgmaxOp> ops(getOperation().getFunctionBody().getOps<ArgmaxOp>());
    if (ops.empty())
      return;
    TargetAttr target = requireTarget(getOperation());
    if (!target)
      return signalPassFailure();
    for (ArgmaxOp op : ops)
      splitArgmax(op, target);
  }
};
} // namespace
} // namespace mlir::mk
