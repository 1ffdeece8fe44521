// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/analysis/Accumulators.h"

using namespace mlir;
using namespace mlir::mk;

std::optional<int64_t> mk::getAccumulatorColumn(Operation *anchor, Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    if (argument.getOwner()->getParentOp() != anchor)
      return std::nullopt;
    auto rowwise = dyn_cast<RowwiseOp>(anchor);
    return rowwise ? rowwise.getFirstColumn(argument.getArgNumber()) : 0;
  }
  Operation *op = value.getDefiningOp();
  std::optional<int64_t> lowest;
  for (Value operand : op->getOperands())
    if (auto column = getAccumulatorColumn(anchor, operand))
      lowest = lowest ? std::min(*lowest, *column) : *column;
  if (auto slice = dyn_cast<SliceOp>(op); slice && lowest)
    return *lowest + int64_t(slice.getOffset());
  return lowest;
}

bool mk::isRotated(RopeOp op, mk_task::SegmentAttr segment, int64_t origin) {
  return (segment.getBase() - origin) % int64_t(op.getHeadDim()) == 0;
}

bool mk::pairsColumns(Operation *anchor, Operation *op) {
  if (!isElementwise(op) || op->getNumOperands() != 2)
    return false;
  auto a = getAccumulatorColumn(anchor, op->getOperand(0)),
       b = getAccumulatorColumn(anchor, op->getOperand(1));
  return a && b && *a != *b;
}
