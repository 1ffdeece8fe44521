// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-narrow-activations: values that every reader rounds to bfloat16 are rounded where they are
// made.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_NARROWACTIVATIONS
#include "passes/Passes.h.inc"

// Whether every reader rounds the value to bfloat16 before it does anything else with it.
static bool isOnlyReadRounded(Value value) {
  return !value.use_empty() && llvm::all_of(value.getUses(), [](OpOperand &use) {
    if (auto attend = dyn_cast<AttendOp>(use.getOwner()))
      return &use == &attend.getQueryMutable() && attend.getPrologue().empty() &&
             attend.getCache().getType().getElementType().isBF16();
    if (isa<MoeLinearOp, MoeCombineOp>(use.getOwner()))
      return use.getOperandNumber() == 0 && getPackedType(use.getOwner()).getElementType().isBF16();
    auto linear = dyn_cast<LinearOp>(use.getOwner());
    return linear && &use == &linear.getInputMutable() && linear.getPrologue().empty() &&
           linear.getWeightType().isBF16();
  });
}

static bool canRound(Operation *op) {
  return op && (isElementwise(op) || isa<EmbeddingOp, RmsNormOp, LayerNormOp, HeadNormOp, RopeOp,
                                         SelectRowsOp, CombineOp, GenericOp>(op));
}

static void narrow(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  value.setType(type.clone(BFloat16Type::get(type.getContext())));
}

static void narrowResult(OpResult result) {
  if (!isa<RowwiseOp>(result.getOwner()) && !multiplies(result.getOwner())) {
    if (canRound(result.getOwner()))
      narrow(result);
    return;
  }
  if (Value yielded = getYielded(result)) {
    // What the epilogue goes on computing with stays as precise as it was.
    if (!canRound(yielded.getDefiningOp()) || !yielded.hasOneUse())
      return;
    narrow(yielded);
  }
  narrow(result);
}

namespace {
struct NarrowActivations : impl::NarrowActivationsBase<NarrowActivations> {
  void runOnOperation() override {
    for (Operation &op : getOperation().getFunctionBody().getOps())
      for (OpResult result : op.getResults()) {
        auto type = dyn_cast<RankedTensorType>(result.getType());
        if (type && type.getElementType().isF32() && isOnlyReadRounded(result))
          narrowResult(result);
      }
  }
};
} // namespace
} // namespace mlir::mk
