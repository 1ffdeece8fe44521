// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Columns.h"
#include "llvm/ADT/STLExtras.h"

namespace mlir::mk_task {

ColumnSet normalize(ColumnSet set) {
  llvm::sort(set, [](Columns a, Columns b) { return a.begin < b.begin; });
  ColumnSet result;
  for (Columns c : set) {
    if (c.begin >= c.end)
      continue;
    if (!result.empty() && c.begin <= result.back().end)
      result.back().end = std::max(result.back().end, c.end);
    else
      result.push_back(c);
  }
  return result;
}

ColumnSet unite(ColumnSet a, const ColumnSet &b) {
  a.append(b.begin(), b.end());
  return normalize(std::move(a));
}

ColumnSet intersect(const ColumnSet &a, const ColumnSet &b) {
  ColumnSet result;
  for (Columns x : a)
    for (Columns y : b)
      result.push_back({std::max(x.begin, y.begin), std::min(x.end, y.end)});
  return normalize(std::move(result));
}

ColumnSet clip(const ColumnSet &set, int64_t begin, int64_t end, int64_t shift) {
  ColumnSet result = intersect(set, {{begin, end}});
  for (Columns &c : result)
    c = {c.begin + shift, c.end + shift};
  return result;
}

} // namespace mlir::mk_task
