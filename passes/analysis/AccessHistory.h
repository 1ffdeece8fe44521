// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_ACCESSHISTORY_H
#define MK_PASSES_ANALYSIS_ACCESSHISTORY_H

#include "passes/analysis/Access.h"
#include <memory>

namespace mlir::mk_task {

/// A task in one of two consecutive steps.
struct TaskPoint {
  int task, family, worker, step;
  /// Grows along the worker's program order, over both steps.
  int32_t time;
};

/// Two tasks that touch the same bytes, one of them writing.
struct Conflict {
  const TaskPoint &earlier, &later;
  unsigned earlierObject, laterObject;
  bool earlierWrites, laterWrites;
  /// In the model's order already, the later task finds bytes of its object that the earlier one
  /// has written over as another object: no event can repair that.
  bool destroyed = false;
};

/// Whether the pair needs no order of its own: of a flagged buffer two steps are kept apart as
/// wholes, and who writes in one writes the same words as others that do, or before any reader; of
/// a forwarded cache, who writes and who reads in a step touch other rows of it.
inline bool isKeptApart(const Conflict &conflict, const MemoryObject &object) {
  bool sameStep = conflict.earlier.step == conflict.later.step,
       siblings = conflict.earlier.family == conflict.later.family;
  return (object.flagged && (!sameStep || (conflict.laterWrites && !siblings))) ||
         (object.forwarded && conflict.earlierWrites != conflict.laterWrites);
}

/// Sweeps over the tasks in the model's order and finds, for each, the earlier tasks that it
/// conflicts with. A conflict that follows from others and from program order may be left out: of
/// several tasks of one worker only the last is kept, and a task that a later writer of the same
/// columns has to follow is forgotten. So the work is near-linear, and ordering every reported pair
/// orders every conflict.
class AccessHistory {
public:
  using Report = llvm::function_ref<void(const Conflict &)>;
  AccessHistory(ArrayRef<MemoryObject> objects, int workers);
  void visit(const TaskPoint &point, ArrayRef<Access> accesses, Report report);

private:
  /// The last point of each worker, or null.
  using Latest = std::vector<std::pair<const TaskPoint *, unsigned>>;
  struct Segment {
    int64_t end;
    const TaskPoint *writer = nullptr;
    SmallVector<const TaskPoint *, 2> readers; // one of each worker
  };
  /// An object, or the shares of an object in one family and step: accesses that columns keep
  /// apart.
  struct Tenant {
    unsigned object;
    Latest writers, accessors, wholeReaders;
    std::map<int64_t, Segment> segments; // by first column
  };
  /// Bytes that the same objects cover, who uses them now, and who did before.
  struct Range {
    Tenant *tenant = nullptr;
    Latest writers, accessors;
    std::pair<const TaskPoint *, unsigned> lastWriter;
  };

  Tenant &getTenant(const TaskPoint &point, const Access &access);
  void visitRange(Range &range, Tenant &tenant, const TaskPoint &point, const Access &access,
                  Report report);
  void visitColumns(Tenant &tenant, const TaskPoint &point, const Access &access, Report report);

  ArrayRef<MemoryObject> objects;
  int workers;
  std::vector<Range> ranges;
  std::vector<SmallVector<unsigned, 4>> rangesOf;
  std::map<std::tuple<unsigned, int, int>, std::unique_ptr<Tenant>> tenants;
  std::vector<std::unique_ptr<TaskPoint>> points;
};

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_ACCESSHISTORY_H
