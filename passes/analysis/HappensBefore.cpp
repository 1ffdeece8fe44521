// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/HappensBefore.h"
#include "llvm/ADT/STLExtras.h"

namespace mlir::mk_task {

HappensBefore::HappensBefore(ArrayRef<ScheduleNode> nodes, int workers, int events, int ending)
    : nodes(nodes), workers(workers), ending(ending), place(nodes.size()),
      previous(nodes.size(), -1), count(workers), last(workers, -1), signallers(events) {
  for (auto [i, node] : llvm::enumerate(nodes)) {
    place[i] = count[node.worker]++;
    previous[i] = last[node.worker];
    last[node.worker] = i;
    for (int event : node.signals)
      signallers[event].push_back(i);
  }
  simulate(events);
  if (!blocked.empty())
    return;
  eventClocks[0].assign(size_t(events) * workers, 0);
  computeClocks(0, events);
  computeClocks(1, events);
}

/// Runs one step. Nothing is ever taken back, so any order of running finds the same blocked nodes.
void HappensBefore::simulate(int events) {
  std::vector<std::vector<int>> queues(workers), waiting(events);
  for (auto [i, node] : llvm::enumerate(nodes))
    queues[node.worker].push_back(i);
  std::vector<size_t> next(workers);
  std::vector<int> missing(events), blockedOn(workers, -1);
  for (auto [event, list] : llvm::enumerate(signallers))
    missing[event] = list.size();

  std::vector<int> ready(workers);
  for (int w = 0; w < workers; ++w)
    ready[w] = workers - 1 - w;
  while (!ready.empty()) {
    int worker = ready.back();
    ready.pop_back();
    blockedOn[worker] = -1;
    for (; next[worker] < queues[worker].size(); ++next[worker]) {
      int node = queues[worker][next[worker]];
      auto unmet = llvm::find_if(nodes[node].waits, [&](EventWait wait) {
        return wait.lag == 0 && missing[wait.event] > 0;
      });
      if (unmet != nodes[node].waits.end()) {
        blockedOn[worker] = unmet->event;
        waiting[unmet->event].push_back(worker);
        break;
      }
      order.push_back(node);
      for (int event : nodes[node].signals)
        if (--missing[event] == 0)
          ready.insert(ready.end(), waiting[event].begin(), waiting[event].end());
    }
  }
  for (int w = 0; w < workers; ++w)
    if (blockedOn[w] >= 0)
      blocked.push_back({queues[w][next[w]], blockedOn[w]});
}

void HappensBefore::computeClocks(int step, int events) {
  clocks[step].resize(nodes.size() * size_t(workers));
  std::vector<int32_t> &ended = eventClocks[step + 1];
  ended.assign(size_t(events) * workers, 0);
  for (int node : order) {
    Clock clock = getClockWithoutWaits(node, step);
    for (EventWait wait : nodes[node].waits)
      join(clock, getEventClock(wait.event, step - wait.lag));
    std::copy(clock.begin(), clock.end(), clocks[step].begin() + size_t(node) * workers);
    clock[nodes[node].worker] = getTime(node, step);
    for (int event : nodes[node].signals)
      for (int w = 0; w < workers; ++w) {
        int32_t &entry = ended[size_t(event) * workers + w];
        entry = std::max(entry, clock[w]);
      }
  }
}

Clock HappensBefore::getClockWithoutWaits(int node, int step) const {
  Clock clock(workers, 0);
  if (previous[node] >= 0)
    clock = getClock(previous[node], step);
  else if (step > 0) {
    clock = getClock(last[nodes[node].worker], step - 1);
    if (ending >= 0) {
      join(clock, getClock(ending, step - 1));
      int32_t &ended = clock[nodes[ending].worker];
      ended = std::max(ended, getTime(ending, step - 1));
    }
  }
  clock[nodes[node].worker] = getTime(node, step) - 1;
  return clock;
}

Clock HappensBefore::getSignalTimes(int event, int step) const {
  Clock times(workers, 0);
  for (int node : signallers[event])
    if (step >= 0)
      times[nodes[node].worker] = std::max(times[nodes[node].worker], getTime(node, step));
  return times;
}

} // namespace mlir::mk_task
