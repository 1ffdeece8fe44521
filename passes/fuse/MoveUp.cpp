// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Makes room for fusion: an op that takes in a later op needs that op's operands earlier.

#include "passes/fuse/MoveUp.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::mk {

static LogicalResult collect(Value value, Operation *before, SetVector<Operation *> &ops) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != before->getBlock() || op->isBeforeInBlock(before))
    return success();
  if (op == before || !isMemoryEffectFree(op))
    return failure();
  if (!ops.insert(op))
    return success();
  WalkResult result = op->walk([&](Operation *nested) {
    for (Value operand : nested->getOperands())
      if (failed(collect(operand, before, ops)))
        return WalkResult::interrupt();
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

LogicalResult moveUp(ValueRange values, Operation *op) {
  SetVector<Operation *> ops;
  for (Value value : values)
    if (failed(collect(value, op, ops)))
      return failure();
  SmallVector<Operation *> inOrder = ops.takeVector();
  llvm::sort(inOrder, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  for (Operation *moved : inOrder)
    moved->moveBefore(op);
  return success();
}

} // namespace mlir::mk
