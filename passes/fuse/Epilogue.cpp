// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Region surgery on the epilogue of mk.linear. An epilogue computes exactly what it yields: every
// op in it stands between the accumulators and a result, and every result has a reader.

#include "passes/fuse/Epilogue.h"
#include "passes/fuse/Columns.h"
#include "passes/fuse/MoveUp.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::mk {

static void eraseDeadOps(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block.without_terminator())))
    if (isOpTriviallyDead(&op))
      op.erase();
}

LinearOp takeOver(LinearOp linear) {
  OpBuilder builder(linear);
  TypeRange types = linear.getEpilogue().front().getTerminator()->getOperandTypes();
  auto taker =
      builder.create<LinearOp>(linear.getLoc(), types, linear.getInput(), linear.getWeights());
  taker->setDiscardableAttrs(linear->getDiscardableAttrDictionary());
  taker.getPrologue().takeBody(linear.getPrologue());
  taker.getEpilogue().takeBody(linear.getEpilogue());
  return taker;
}

// Puts `op` at the end of the epilogue of `linear` and replaces the linear by one with the results
// that are read.
static void absorb(LinearOp linear, Operation *op) {
  OpBuilder builder(linear);
  Block &block = linear.getOrCreateEpilogue(builder);
  Operation *yield = block.getTerminator();
  op->moveBefore(yield);
  for (OpOperand &operand : op->getOpOperands())
    if (operand.get().getDefiningOp() == linear)
      operand.set(yield->getOperand(cast<OpResult>(operand.get()).getResultNumber()));

  SmallVector<Value> replaced, yielded;
  for (OpResult result : linear->getResults())
    if (!result.use_empty()) {
      replaced.push_back(result);
      yielded.push_back(yield->getOperand(result.getResultNumber()));
    }
  for (Value result : op->getResults())
    if (result.isUsedOutsideOfBlock(&block)) {
      replaced.push_back(result);
      yielded.push_back(result);
    }
  yield->setOperands(yielded);

  LinearOp fused = takeOver(linear);
  for (auto [old, result] : llvm::zip(replaced, fused.getResults()))
    old.replaceUsesWithIf(result, [&](OpOperand &use) {
      return use.getOwner()->getBlock() != &fused.getEpilogue().front();
    });
  linear.erase();
  eraseDeadOps(fused.getEpilogue().front());
}

bool fuseIntoEpilogue(Operation *op) {
  if (op->use_empty())
    return false;
  SmallVector<LinearOp> candidates;
  for (Value operand : op->getOperands())
    if (auto linear = operand.getDefiningOp<LinearOp>())
      if (linear->getBlock() == op->getBlock() && !llvm::is_contained(candidates, linear))
        candidates.push_back(linear);
  llvm::sort(candidates, [](LinearOp a, LinearOp b) { return b->isBeforeInBlock(a); });
  for (LinearOp linear : candidates) {
    SmallVector<Value> others;
    llvm::copy_if(op->getOperands(), std::back_inserter(others),
                  [&](Value operand) { return operand.getDefiningOp() != linear; });
    if (!fitsColumns(linear, op) || failed(moveUp(others, linear)))
      continue;
    absorb(linear, op);
    return true;
  }
  return false;
}

} // namespace mlir::mk
