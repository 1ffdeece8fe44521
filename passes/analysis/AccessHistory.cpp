// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/AccessHistory.h"

namespace mlir::mk_task {

AccessHistory::AccessHistory(ArrayRef<MemoryObject> objects, int workers)
    : objects(objects), workers(workers), rangesOf(objects.size()) {
  std::map<std::pair<int, int64_t>, unsigned> cuts;
  for (const MemoryObject &object : objects)
    cuts[{object.space, object.begin}] = cuts[{object.space, object.end}] = 0;
  for (auto &[cut, index] : cuts) {
    index = ranges.size();
    ranges.emplace_back();
    ranges.back().writers.resize(workers);
    ranges.back().accessors.resize(workers);
  }
  for (auto [i, object] : llvm::enumerate(objects))
    for (auto it = cuts.find({object.space, object.begin}),
              end = cuts.find({object.space, object.end});
         it != end; ++it)
      rangesOf[i].push_back(it->second);
}

AccessHistory::Tenant &AccessHistory::getTenant(const TaskPoint &point, const Access &access) {
  std::tuple<unsigned, int, int> key = {access.object, -1, 0};
  if (access.shares)
    key = {access.object, point.family, point.step};
  std::unique_ptr<Tenant> &tenant = tenants[key];
  if (!tenant) {
    tenant = std::make_unique<Tenant>();
    tenant->object = access.object;
    tenant->writers.resize(workers);
    tenant->accessors.resize(workers);
    tenant->wholeReaders.resize(workers);
    tenant->segments[0].end = objects[access.object].columns;
  }
  return *tenant;
}

static void keepLatest(std::pair<const TaskPoint *, unsigned> &entry, const TaskPoint *point,
                       unsigned object) {
  if (point && (!entry.first || entry.first->time < point->time))
    entry = {point, object};
}

void AccessHistory::visitRange(Range &range, Tenant &tenant, const TaskPoint &point,
                               const Access &access, Report report) {
  if (range.tenant != &tenant) {
    if (range.tenant)
      for (int w = 0; w < workers; ++w) {
        auto [writer, writtenObject] = range.tenant->writers[w];
        keepLatest(range.writers[w], writer, writtenObject);
        auto [accessor, accessedObject] = range.tenant->accessors[w];
        keepLatest(range.accessors[w], accessor, accessedObject);
      }
    range.tenant = &tenant;
  }
  auto [last, written] = range.lastWriter;
  if (!access.write && last && written != access.object)
    report({*last, point, written, access.object, true, false, /*destroyed=*/true});
  if (access.write)
    range.lastWriter = {&point, access.object};
  // A task may work in place, but not on the bytes of two objects at once.
  for (auto [earlier, object] : access.write ? range.accessors : range.writers)
    if (earlier && (earlier->task != point.task || (earlier == &point && object != access.object)))
      report({*earlier, point, object, access.object, !access.write, access.write});
}

void AccessHistory::visitColumns(Tenant &tenant, const TaskPoint &point, const Access &access,
                                 Report report) {
  auto conflict = [&](const TaskPoint *earlier, bool earlierWrites) {
    if (earlier && earlier->task != point.task)
      report({*earlier, point, access.object, access.object, earlierWrites, access.write});
  };
  int64_t width = objects[access.object].columns;
  bool whole =
      access.columns.size() == 1 && access.columns[0].begin == 0 && access.columns[0].end >= width;
  if (access.write)
    for (auto [reader, object] : tenant.wholeReaders)
      conflict(reader, false);
  auto &segments = tenant.segments;
  auto cut = [&](int64_t column) {
    auto it = std::prev(segments.upper_bound(column));
    if (it->first == column || column >= it->second.end)
      return;
    Segment right = it->second;
    it->second.end = column;
    segments.emplace(column, std::move(right));
  };
  for (Columns columns : access.columns) {
    cut(columns.begin);
    cut(columns.end);
    for (auto it = segments.lower_bound(columns.begin);
         it != segments.end() && it->first < columns.end; ++it) {
      Segment &segment = it->second;
      conflict(segment.writer, true);
      if (access.write) {
        for (const TaskPoint *reader : segment.readers)
          conflict(reader, false);
        segment.readers.clear();
        segment.writer = &point;
      } else if (!whole) {
        auto same = llvm::find_if(segment.readers, [&](const TaskPoint *reader) {
          return reader->worker == point.worker;
        });
        if (same == segment.readers.end())
          segment.readers.push_back(&point);
        else if ((*same)->time < point.time)
          *same = &point;
      }
    }
  }
  if (whole && !access.write)
    keepLatest(tenant.wholeReaders[point.worker], &point, access.object);
}

void AccessHistory::visit(const TaskPoint &visited, ArrayRef<Access> accesses, Report report) {
  points.push_back(std::make_unique<TaskPoint>(visited));
  const TaskPoint &point = *points.back();
  for (const Access &access : accesses) {
    Tenant &tenant = getTenant(point, access);
    for (unsigned range : rangesOf[access.object])
      visitRange(ranges[range], tenant, point, access, report);
    if (!access.shares)
      visitColumns(tenant, point, access, report);
    keepLatest(tenant.accessors[point.worker], &point, access.object);
    if (access.write)
      keepLatest(tenant.writers[point.worker], &point, access.object);
  }
}

} // namespace mlir::mk_task
