// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_HAPPENSBEFORE_H
#define MK_PASSES_ANALYSIS_HAPPENSBEFORE_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include <optional>
#include <vector>

namespace mlir::mk_task {

struct EventWait {
  int event, lag;
  bool operator==(const EventWait &o) const { return event == o.event && lag == o.lag; }
};

/// What the order of tasks depends on: a node is an instruction of a worker.
struct ScheduleNode {
  int worker;
  SmallVector<EventWait, 3> waits;
  SmallVector<int, 1> signals;
};

/// For each worker, how many of its nodes are known to have ended; counts go on over the steps.
using Clock = std::vector<int32_t>;
inline bool covers(ArrayRef<int32_t> clock, ArrayRef<int32_t> needed) {
  bool all = true; // no early exit: this runs in vector registers
  for (size_t w = 0; w < clock.size(); ++w)
    all &= clock[w] >= needed[w];
  return all;
}
inline void join(Clock &clock, ArrayRef<int32_t> other) {
  for (size_t w = 0; w < clock.size(); ++w)
    clock[w] = std::max(clock[w], other[w]);
}

/// The happens-before order of two consecutive steps, by vector clocks (Fidge 1988, Mattern 1989).
///
/// The edges are each worker's program order, which runs on into the next step, and those from all
/// signals of an event to a wait on it, and from the node that ends a step to the first of every
/// worker in the next: all workers look at the count of steps in between. Two steps are enough to
/// know the order within any step and between any step and its next: no edge goes back in time, so
/// a path from step s to step s or s + 1 meets no other step, and all steps have the same edges.
class HappensBefore {
public:
  /// The nodes of one worker stand in its program order; workers may mix. `ending`: the node that
  /// publishes the next step, or -1.
  HappensBefore(ArrayRef<ScheduleNode> nodes, int workers, int events, int ending = -1);

  /// The nodes that wait for ever, one of each blocked worker, with the event. Only when there are
  /// none are the clocks below known. Waits on the step before cannot add to them: they block no
  /// step that is not blocked without them, because a path that closes a cycle stays in one step.
  ArrayRef<std::pair<int, int>> getBlocked() const { return blocked; }

  /// All nodes in an order that they can run in.
  ArrayRef<int> getOrder() const { return order; }

  /// One more than the node's place among all nodes of its worker, in step 0 or 1.
  int32_t getTime(int node, int step) const {
    return place[node] + 1 + step * count[nodes[node].worker];
  }
  /// What has ended before the node begins, and what of it is known without the node's own waits.
  ArrayRef<int32_t> getClock(int node, int step) const { return row(clocks[step], node); }
  Clock getClockWithoutWaits(int node, int step) const;
  /// What has ended when the event has all signals of a step; step -1 is before all.
  ArrayRef<int32_t> getEventClock(int event, int step) const {
    return row(eventClocks[step + 1], event);
  }
  /// Only the signalling nodes themselves.
  Clock getSignalTimes(int event, int step) const;

  bool isBefore(int a, int stepOfA, int b, int stepOfB) const {
    return getClock(b, stepOfB)[nodes[a].worker] >= getTime(a, stepOfA);
  }

private:
  ArrayRef<int32_t> row(const std::vector<int32_t> &matrix, int i) const {
    return ArrayRef(matrix).slice(size_t(i) * workers, workers);
  }
  void simulate(int events);
  void computeClocks(int step, int events);

  ArrayRef<ScheduleNode> nodes;
  int workers, ending;
  std::vector<int> place, previous, order;
  std::vector<int> count, last;
  std::vector<std::vector<int>> signallers;
  SmallVector<std::pair<int, int>> blocked;
  std::vector<int32_t> clocks[2], eventClocks[3];
};

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_HAPPENSBEFORE_H
