// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-add-sampler: the program chooses the next token itself.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_ADDSAMPLER
#include "passes/Passes.h.inc"

static bool returnsLogits(func::FuncOp func) {
  if (func.getNumResults() != 1)
    return false;
  auto type = dyn_cast<RankedTensorType>(func.getResultTypes().front());
  return type && type.getRank() == 2 && type.isDynamicDim(0) && type.getDimSize(1) > 0 &&
         type.getElementType().isF32();
}

namespace {
struct AddSampler : impl::AddSamplerBase<AddSampler> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (!func.getFunctionBody().hasOneBlock() || !returnsLogits(func)) {
      func.emitError() << "mk-add-sampler: expected @" << func.getName()
                       << " to be one block that returns one tensor<?xDxf32> of logits, found ("
                       << func.getResultTypes() << ")";
      return signalPassFailure();
    }
    Block &block = func.getFunctionBody().front();
    if (!block.getOps<AdvanceOp>().empty()) {
      func.emitError() << "mk-add-sampler: expected @" << func.getName()
                       << " without mk.advance, found one";
      return signalPassFailure();
    }

    OpBuilder builder(block.getTerminator());
    Value logits = block.getTerminator()->getOperand(0);
    auto tokens = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
    // The sampler belongs to no module of the model, but errors about it should still say what it
    // samples.
    Location loc = logits.getLoc();
    Value greedy = builder.create<ArgmaxOp>(loc, tokens, logits);
    Value next = builder.create<SampleOp>(loc, tokens, logits, greedy);
    builder.create<AdvanceOp>(loc, next);
  }
};
} // namespace
} // namespace mlir::mk
