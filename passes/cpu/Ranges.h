// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which positions a token's attention sees, and so which ranges of `split` positions it has: who
// attends, who joins and who loads ahead must agree. Without a window all begin at position 0.
#ifndef MK_PASSES_CPU_RANGES_H
#define MK_PASSES_CPU_RANGES_H

#include "passes/cpu/VectorMath.h"

namespace mlir::mk {

/// The first position that a token at `position` sees. Requires a window.
template <typename Builder> Value firstSeen(Builder &b, Value position, int64_t window) {
  return b.max(b.index(0), b.sub(position, b.index(window - 1)));
}

/// The range that is number 0 of the token's. Requires a window.
template <typename Builder>
Value firstRange(Builder &b, Value position, int64_t window, int64_t split) {
  return b.div(firstSeen(b, position, window), split);
}

/// The number of the token's last range.
template <typename Builder>
Value lastRange(Builder &b, Value position, int64_t window, int64_t split) {
  Value last = b.div(position, split);
  return window ? b.sub(last, firstRange(b, position, window, split)) : last;
}

} // namespace mlir::mk

#endif // MK_PASSES_CPU_RANGES_H
