// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_IMPORT_ROWVIEW_H
#define MK_PASSES_IMPORT_ROWVIEW_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"
#include <optional>

namespace mlir::mk {

/// One dimension of a torch tensor, as a part of the rows `tensor<?xDxf32>` that it shows.
struct Axis {
  enum class Kind {
    Unit,   // size 1
    Row,    // the tokens, or the rows selected for logits
    Column, // `size` columns, `stride` apart
  };
  Kind kind = Kind::Unit;
  int64_t size = 1;
  int64_t stride = 0;

  static Axis unit() { return Axis(); }
  static Axis row() { return {Kind::Row, ShapedType::kDynamic, 0}; }
  static Axis columns(int64_t size, int64_t stride) {
    return size == 1 ? Axis() : Axis{Kind::Column, size, stride};
  }
  bool isUnit() const { return kind == Kind::Unit; }
  bool isRow() const { return kind == Kind::Row; }
  bool isColumn() const { return kind == Kind::Column; }
  bool operator==(const Axis &other) const {
    return kind == other.kind && size == other.size && stride == other.stride;
  }
};
using Axes = SmallVector<Axis>;

/// A torch tensor as a view of rows: element (..., n, ..., c, ...) is column
/// `offset + sum of c * stride` of row n. `[1,4,?,16]` after the transpose of four heads is
/// {unit, 4 columns 16 apart, row, 16 columns 1 apart}.
struct RowView {
  Value value;
  int64_t offset = 0;
  Axes axes;
  /// Null: one row per token. Otherwise the input that selected the rows.
  Value domain;
  /// The columns of the last axis lie in `value` with those of even number first, as they are after
  /// a rotation of neighbours. Only attention takes them so: both its sides the same way.
  bool evenFirst = false;

  bool operator==(const RowView &other) const {
    return value == other.value && offset == other.offset && axes == other.axes &&
           domain == other.domain && evenFirst == other.evenFirst;
  }
};

/// The axes of rows with `columns` columns and no other dimensions.
Axes plainAxes(int64_t columns);

/// Without units, and with neighbouring column axes that run on joined into one.
Axes joinAxes(ArrayRef<Axis> axes);

/// The axes after a reshape to `shape`, if that only splits, joins, adds or drops whole axes.
std::optional<Axes> reshapeAxes(ArrayRef<Axis> axes, ArrayRef<int64_t> shape);

/// With units in front up to `rank`, as broadcasting adds them.
Axes padAxes(ArrayRef<Axis> axes, size_t rank);

/// The number of columns seen if they are neighbours, in whatever order the axes come.
std::optional<int64_t> countNeighbouringColumns(ArrayRef<Axis> axes);

/// True if the tensor is laid out as the rows are: row by row, columns in order.
bool isRowMajor(ArrayRef<Axis> axes);

} // namespace mlir::mk

#endif // MK_PASSES_IMPORT_ROWVIEW_H
