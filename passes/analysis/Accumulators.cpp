// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/analysis/Accumulators.h"

using namespace mlir;
using namespace mlir::mk;

std::optional<int64_t> mk::getAccumulatorColumn(LinearOp linear, Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value))
    return argument.getOwner()->getParentOp() == linear ? std::optional<int64_t>(0) : std::nullopt;
  Operation *op = value.getDefiningOp();
  std::optional<int64_t> lowest;
  for (Value operand : op->getOperands())
    if (auto column = getAccumulatorColumn(linear, operand))
      lowest = lowest ? std::min(*lowest, *column) : *column;
  if (auto slice = dyn_cast<SliceOp>(op); slice && lowest)
    return *lowest + int64_t(slice.getOffset());
  return lowest;
}
