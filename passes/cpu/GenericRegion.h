// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The parts of a mk.generic, for both machines: its numbers, its column numbers, its region and its
// reductions.
#ifndef MK_PASSES_CPU_GENERICREGION_H
#define MK_PASSES_CPU_GENERICREGION_H

#include "dialects/mk/Mk.h"
#include "passes/cpu/VectorMath.h"

namespace mlir::mk {

/// The parallel numbers of a column of the result: an index, or lanes of i32.
SmallVector<Value> splitColumn(CodeBuilder &b, GenericOp op, Value column);

/// The value of an expression, in the type of the numbers.
Value makeAffine(CodeBuilder &b, AffineExpr expr, ArrayRef<Value> dims);

/// By how much the expression grows from each column to the next in any `width` neighbouring
/// columns of the result that begin at a multiple of it: 0 or 1; nothing if it is neither, or not
/// known.
std::optional<int64_t> getLaneStride(GenericOp op, AffineExpr expr, int64_t width);

/// Where the region finds its numbers.
struct RegionPoint {
  Type type; // f32, or lanes of it
  std::function<Value(unsigned)> input;
  std::function<Value(unsigned, Value)> element;
  std::function<Value(int64_t)> iteration; // i32, or lanes of it
};

/// What the op computes at the parallel point; `counters` has the numbers of the loops over the
/// reductions while these are made.
Value makeReductions(CodeBuilder &b, GenericOp op, const RegionPoint &point,
                     SmallVectorImpl<Value> &counters);

} // namespace mlir::mk

#endif // MK_PASSES_CPU_GENERICREGION_H
