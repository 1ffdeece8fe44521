// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The arithmetic of views: how transposes and reshapes look at the same rows.

#include "passes/import/RowView.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace mlir::mk;

Axes mk::plainAxes(int64_t columns) { return {Axis::row(), Axis::columns(columns, 1)}; }

Axes mk::joinAxes(ArrayRef<Axis> axes) {
  Axes joined;
  for (const Axis &axis : axes) {
    if (axis.isUnit())
      continue;
    bool runsOn = axis.isColumn() && !joined.empty() && joined.back().isColumn() &&
                  joined.back().stride == axis.size * axis.stride;
    if (runsOn)
      joined.back() = Axis::columns(joined.back().size * axis.size, axis.stride);
    else
      joined.push_back(axis);
  }
  return joined;
}

std::optional<Axes> mk::reshapeAxes(ArrayRef<Axis> axes, ArrayRef<int64_t> shape) {
  Axes joined = joinAxes(axes), result;
  // `rest` is what is left of the column axis being split, outermost part first.
  const Axis *next = joined.begin();
  int64_t rest = next != joined.end() && next->isColumn() ? next->size : 1;
  auto advance = [&] {
    ++next;
    rest = next != joined.end() && next->isColumn() ? next->size : 1;
  };
  for (int64_t size : shape) {
    if (size == 1) {
      result.push_back(Axis::unit());
      continue;
    }
    if (next == joined.end())
      return std::nullopt;
    // All sizes but one being fixed, a `?` that takes a whole row axis is the number of rows.
    if (ShapedType::isDynamic(size) != next->isRow())
      return std::nullopt;
    if (next->isRow()) {
      result.push_back(*next);
      advance();
      continue;
    }
    if (size == 0 || rest % size != 0)
      return std::nullopt;
    rest /= size;
    result.push_back(Axis::columns(size, next->stride * rest));
    if (rest == 1)
      advance();
  }
  return next == joined.end() ? std::optional(result) : std::nullopt;
}

Axes mk::padAxes(ArrayRef<Axis> axes, size_t rank) {
  Axes padded(rank > axes.size() ? rank - axes.size() : 0, Axis::unit());
  llvm::append_range(padded, axes);
  return padded;
}

std::optional<int64_t> mk::countNeighbouringColumns(ArrayRef<Axis> axes) {
  Axes columns;
  llvm::copy_if(axes, std::back_inserter(columns), [](const Axis &a) { return a.isColumn(); });
  llvm::sort(columns, [](const Axis &a, const Axis &b) { return a.stride < b.stride; });
  int64_t count = 1;
  for (const Axis &axis : columns) {
    if (axis.stride != count)
      return std::nullopt;
    count *= axis.size;
  }
  return count;
}

bool mk::isRowMajor(ArrayRef<Axis> axes) {
  Axes joined = joinAxes(axes);
  if (joined.empty() || !joined[0].isRow())
    return false;
  return joined.size() == 1 ||
         (joined.size() == 2 && joined[1].isColumn() && joined[1].stride == 1);
}
