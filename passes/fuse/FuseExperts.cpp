// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "passes/Passes.h"
#include "passes/fuse/MoveUp.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEEXPERTS
#include "passes/Passes.h.inc"

/// The block that the sums of experts pass through, created with a plain `mk.yield` of them when
/// absent.
static Block &getOrCreateEpilogue(MoeCombineOp combine) {
  if (!combine.getEpilogue().empty())
    return combine.getEpilogue().front();
  OpBuilder builder(combine.getContext());
  Type sums = combine.getType();
  Block *block = builder.createBlock(&combine.getEpilogue(), {}, {sums}, {combine.getLoc()});
  builder.create<YieldOp>(combine.getLoc(), block->getArgument(0));
  return *block;
}

static bool absorbReader(MoeCombineOp combine) {
  if (!combine.getResult().hasOneUse())
    return false;
  Operation *reader = *combine.getResult().user_begin();
  if (!isElementwise(reader) || reader->getBlock() != combine->getBlock())
    return false;
  SmallVector<Value> others;
  llvm::copy_if(reader->getOperands(), std::back_inserter(others),
                [&](Value operand) { return operand != combine.getResult(); });
  if (failed(moveUp(others, combine)))
    return false;
  Operation *yield = getOrCreateEpilogue(combine).getTerminator();
  IRMapping mapping;
  mapping.map(combine.getResult(), yield->getOperand(0));
  Operation *inside = OpBuilder(yield).clone(*reader, mapping);
  yield->setOperand(0, inside->getResult(0));
  combine.getResult().setType(cast<RankedTensorType>(reader->getResult(0).getType()));
  reader->getResult(0).replaceAllUsesWith(combine.getResult());
  reader->erase();
  return true;
}

namespace {
struct FuseExperts : impl::FuseExpertsBase<FuseExperts> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody())
      for (auto combine : llvm::make_early_inc_range(block.getOps<MoeCombineOp>()))
        while (absorbReader(combine))
          ;
  }
};
} // namespace
} // namespace mlir::mk
