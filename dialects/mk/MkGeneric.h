// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_DIALECTS_MK_MKGENERIC_H
#define MK_DIALECTS_MK_MKGENERIC_H

#include "mlir/IR/AffineExpr.h"
#include <optional>

namespace mlir::mk {

struct ColumnRange {
  int64_t low, high; // both included
};

/// The numbers that an expression of a mk.generic may be where its dimensions have these sizes,
/// never too few. Nothing where a numerator may be negative (code divides without sign) or a number
/// may be too large for 32 bits.
std::optional<ColumnRange> getColumnRange(AffineExpr expr, ArrayRef<int64_t> sizes);

} // namespace mlir::mk

#endif // MK_DIALECTS_MK_MKGENERIC_H
