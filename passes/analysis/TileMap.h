// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_TILEMAP_H
#define MK_PASSES_ANALYSIS_TILEMAP_H

#include "dialects/mk_task/MkTask.h"

namespace mlir::mk {

/// Which columns each work unit of a `tiles` or `columns` kind covers: two groups of up to `lanes`
/// columns.
struct TileMap {
  int64_t lanes = 0, columns = 0;
  SmallVector<mk_task::SegmentAttr> segments; // ascending by base

  int64_t units() const;
  /// The columns of a unit's 2 * lanes rows in the order of its weight tile, -1 where there is
  /// none.
  SmallVector<int64_t> sourceRows(int64_t unit) const;
  /// Every column is in exactly one unit.
  LogicalResult verify(function_ref<InFlightDiagnostic()> emitError) const;
  void dump(raw_ostream &os) const;
};

/// The map that lets each unit of the kind run alone: columns that an op combines (the halves of a
/// rotated head, both inputs of a gate) are partners in one unit. An error names the op whose
/// pairing is impossible.
FailureOr<TileMap> computeTileMap(mk_task::KindOp kind, int64_t lanes);

} // namespace mlir::mk

#endif // MK_PASSES_ANALYSIS_TILEMAP_H
