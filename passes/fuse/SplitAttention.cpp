// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-split-attention: attention as independent ranges of positions and their join.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_SPLITATTENTION
#include "passes/Passes.h.inc"

static void splitAttention(AttentionOp op, OptionsAttr options) {
  OpBuilder builder(op);
  int64_t headDim = cast<CacheType>(op.getCache().getType()).getHeadDim();
  int64_t heads = getColumns(op.getQuery()) / headDim;
  int64_t split = options.getSplit(), splits = options.getSplits(), window = op.getWindow();
  if (window >= options.getMaxLength())
    window = 0; // no token comes to the end of it
  if (window)   // it begins anywhere in its first range
    splits = std::min(splits, (window + split - 2) / split + 1);
  auto type = RankedTensorType::get({ShapedType::kDynamic, heads * splits * (headDim + 2)},
                                    builder.getF32Type());
  Value partials = builder.create<AttendOp>(
      op.getLoc(), type, op.getQuery(), op.getCache(), op.getPositions(), op.getSlots(),
      /*new_rows=*/ValueRange(), op.getScale(), split, splits, window, op.getSoftcap());
  op.replaceAllUsesWith(builder
                            .create<CombineOp>(op.getLoc(), op.getType(), partials,
                                               op.getPositions(), op.getSinks(), headDim, split,
                                               splits, window)
                            .getResult());
  op.erase();
}

namespace {
struct SplitAttention : impl::SplitAttentionBase<SplitAttention> {
  void runOnOperation() override {
    SmallVector<AttentionOp> ops(getOperation().getFunctionBody().getOps<AttentionOp>());
    if (ops.empty())
      return;
    OptionsAttr options = requireOptions(getOperation());
    if (!options)
      return signalPassFailure();
    for (AttentionOp op : ops)
      splitAttention(op, options);
  }
};
} // namespace
} // namespace mlir::mk
