// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-add-sampler: the program chooses the next token itself, or ends with its results.

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

/// A function with inputs beside the request's: its results are rows of the step's tokens.
static bool hasInputs(func::FuncOp func) {
  return llvm::any_of(llvm::seq(func.getNumArguments()),
                      [&](unsigned i) { return func.getArgAttr(i, kInputAttr) != nullptr; });
}

static bool returnsRows(func::FuncOp func) {
  return func.getNumResults() > 0 && llvm::all_of(func.getResultTypes(), [](Type type) {
           auto rows = dyn_cast<RankedTensorType>(type);
           return rows && rows.getRank() == 2 && rows.isDynamicDim(0) &&
                  rows.getElementType().isF32();
         });
}

namespace {
struct AddSampler : impl::AddSamplerBase<AddSampler> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    bool isModule = hasInputs(func);
    if (!func.getFunctionBody().hasOneBlock() ||
        !(isModule ? returnsRows(func) : returnsLogits(func))) {
      func.emitError() << "mk-add-sampler: expected @" << func.getName()
                       << " to be one block that returns "
                       << (isModule ? "a tensor<?xDxf32> for each result"
                                    : "one tensor<?xDxf32> of logits")
                       << ", found (" << func.getResultTypes() << ")";
      return signalPassFailure();
    }
    Block &block = func.getFunctionBody().front();
    if (!block.getOps<AdvanceOp>().empty() || !block.getOps<FinishOp>().empty()) {
      func.emitError() << "mk-add-sampler: expected @" << func.getName()
                       << " without mk.advance or mk.finish, found one";
      return signalPassFailure();
    }

    OpBuilder builder(block.getTerminator());
    if (isModule) {
      builder.create<FinishOp>(block.getTerminator()->getLoc(),
                               block.getTerminator()->getOperands());
      return;
    }
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
