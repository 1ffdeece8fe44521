// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_FUSE_COLUMNS_H
#define MK_PASSES_FUSE_COLUMNS_H

#include "dialects/mk/Mk.h"
#include <optional>

namespace mlir::mk {

/// The columns of a linear's accumulators that a value of its epilogue is computed from: column c
/// of the value needs column `offset + c` and its partners. Partners must lie in one weight tile,
/// so a column has one pairing.
struct Columns {
  enum Pairing {
    None,  ///< no partner
    Rope,  ///< partners are half a head of `size` columns apart
    Gate,  ///< the partner of `offset + c` is `offset + width + c`
    Blocks ///< the `size` columns of a block are partners; the value has other columns of its own
  };
  int64_t offset = 0;
  int64_t width = 0;
  Pairing pairing = None;
  int64_t size = 0;

  bool operator==(const Columns &other) const;
  /// One beyond the last column of the accumulators that is needed.
  int64_t getEnd() const { return offset + (pairing == Gate ? 2 * width : width); }
};

/// The columns that `value`, defined in the epilogue of `linear`, is computed from; none if it is
/// not made of columns.
std::optional<Columns> getColumnsOf(LinearOp linear, Value value);

/// Whether `op` could stand at the end of the epilogue of `linear`, whose results it reads, without
/// pairing a column in two ways.
bool fitsColumns(LinearOp linear, Operation *op);

/// Whether `op` is elementwise and reads different columns of one linear, which makes them
/// partners.
bool pairsColumns(Operation *op);

} // namespace mlir::mk

#endif // MK_PASSES_FUSE_COLUMNS_H
