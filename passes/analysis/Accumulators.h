// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_ACCUMULATORS_H
#define MK_PASSES_ANALYSIS_ACCUMULATORS_H

#include "dialects/mk_task/MkTask.h"

#include <optional>

namespace mlir::mk {

/// The accumulator under column 0 of a value in the epilogue of a product, or the column of the
/// inputs of an `mk.rowwise` under one in its body; of partners, the lower one. Nothing for a value
/// that does not come from these.
std::optional<int64_t> getAccumulatorColumn(Operation *anchor, Value value);

/// Whether an elementwise op joins different columns of the accumulators, which makes them
/// partners.
bool pairsColumns(Operation *anchor, Operation *op);

/// Whether an op rotates the columns of a segment; the other columns of each head are a
/// segment of their own. `origin`: the accumulator column of the op's column 0.
bool isRotated(RopeOp op, mk_task::SegmentAttr segment, int64_t origin);

} // namespace mlir::mk

#endif // MK_PASSES_ANALYSIS_ACCUMULATORS_H
