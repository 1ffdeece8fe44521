// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_COLUMNS_H
#define MK_PASSES_ANALYSIS_COLUMNS_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/SmallVector.h"

namespace mlir::mk_task {

/// Columns [begin, end) of a row, for all rows.
struct Columns {
  int64_t begin, end;
  bool operator==(const Columns &other) const { return begin == other.begin && end == other.end; }
};
/// Disjoint, not adjacent, ascending.
using ColumnSet = SmallVector<Columns, 2>;

/// The set of the given columns, which may overlap and come in any order.
ColumnSet normalize(ColumnSet set);
ColumnSet unite(ColumnSet a, const ColumnSet &b);
ColumnSet intersect(const ColumnSet &a, const ColumnSet &b);
/// The columns of the set that lie in [begin, end), moved by `shift`.
ColumnSet clip(const ColumnSet &set, int64_t begin, int64_t end, int64_t shift);

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_COLUMNS_H
