// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"
#include "passes/analysis/HappensBefore.h"

namespace mlir::mk {
#define GEN_PASS_DEF_ELIDEEVENTS
#include "passes/Passes.h.inc"

namespace {
using namespace mk_task;

/// The waits of a node that neither program order nor its other waits, nor the `given` ones, imply.
/// A wait can only be implied by one that comes later in the order, so going through them from the
/// latest finds the fewest.
SmallVector<EventWait, 3> reduce(const HappensBefore &order, int node, ArrayRef<EventWait> waits,
                                 ArrayRef<int> eventOrder, ArrayRef<EventWait> given = {}) {
  SmallVector<EventWait, 3> sorted(waits), kept;
  llvm::sort(sorted, [&](EventWait a, EventWait b) {
    return std::pair(a.lag, -eventOrder[a.event]) < std::pair(b.lag, -eventOrder[b.event]);
  });
  Clock known = order.getClockWithoutWaits(node, 1);
  for (EventWait wait : given)
    join(known, order.getEventClock(wait.event, 1 - wait.lag));
  for (EventWait wait : sorted) {
    if (covers(known, order.getSignalTimes(wait.event, 1 - wait.lag)))
      continue;
    kept.push_back(wait);
    join(known, order.getEventClock(wait.event, 1 - wait.lag));
  }
  return kept;
}

LogicalResult elideEvents(ProgramOp program) {
  std::vector<EventOp> events;
  llvm::StringMap<int> numbers;
  for (EventOp event : program.getBody().getOps<EventOp>()) {
    numbers[event.getSymName()] = events.size();
    events.push_back(event);
  }
  std::vector<TaskOp> tasks;
  std::vector<ScheduleNode> nodes, withHints; // hints order when tasks run, but no memory
  int workers = 0, ending = -1;
  SymbolTable symbolTable(program);
  for (TaskOp task : program.getBody().getOps<TaskOp>()) {
    ScheduleNode node = {int(task.getWorker()), {}, {}};
    for (auto [lag, list] : {std::pair(0, task.getWaits()), std::pair(1, task.getPrevious())})
      for (auto symbol : list.getAsRange<FlatSymbolRefAttr>())
        node.waits.push_back({numbers.lookup(symbol.getValue()), lag});
    for (auto symbol : task.getSignals().getAsRange<FlatSymbolRefAttr>())
      node.signals.push_back(numbers.lookup(symbol.getValue()));
    workers = std::max(workers, node.worker + 1);
    auto family = symbolTable.lookup<FamilyOp>(task.getFamily());
    if (endsStep(symbolTable.lookup<KindOp>(family.getKind())))
      ending = tasks.size();
    tasks.push_back(task);
    nodes.push_back(node);
    if (auto hints = task.getHints())
      for (auto symbol : hints->getAsRange<FlatSymbolRefAttr>())
        node.waits.push_back({numbers.lookup(symbol.getValue()), 0});
    withHints.push_back(std::move(node));
  }
  HappensBefore runs(withHints, workers, events.size(), ending);
  if (!runs.getBlocked().empty()) {
    auto [node, event] = runs.getBlocked().front();
    return tasks[node].emitError("task '")
           << tasks[node].getFamily() << "' on worker " << nodes[node].worker
           << " waits for event '" << events[event].getSymName() << "' for ever";
  }

  HappensBefore order(nodes, workers, events.size(), ending);

  // An event comes when its last signaller ends: the order in which nodes can run sorts events too.
  std::vector<int> eventOrder(events.size());
  for (auto [place, node] : llvm::enumerate(runs.getOrder()))
    for (int event : nodes[node].signals)
      eventOrder[event] = place;

  // Leaving out implied waits does not change the order, so one computation serves all decisions.
  OpBuilder builder(program.getContext());
  std::vector<bool> awaited(events.size()), acquired(events.size());
  auto symbols = [&](auto &&list, auto &&wanted, auto &&eventOf) {
    SmallVector<Attribute> result;
    for (auto &entry : list)
      if (wanted(entry))
        result.push_back(FlatSymbolRefAttr::get(events[eventOf(entry)].getSymNameAttr()));
    return builder.getArrayAttr(result);
  };
  for (auto [i, task] : llvm::enumerate(tasks)) {
    SmallVector<EventWait, 3> kept = reduce(order, i, nodes[i].waits, eventOrder);
    for (EventWait wait : kept)
      awaited[wait.event] = acquired[wait.event] = true;
    auto eventOf = [](EventWait wait) { return wait.event; };
    task.setWaitsAttr(symbols(kept, [](EventWait wait) { return wait.lag == 0; }, eventOf));
    task.setPreviousAttr(symbols(kept, [](EventWait wait) { return wait.lag == 1; }, eventOf));
    if (!task.getHints())
      continue;
    ArrayRef<EventWait> hints =
        ArrayRef<EventWait>(withHints[i].waits).drop_front(nodes[i].waits.size());
    SmallVector<EventWait, 3> keptHints = reduce(runs, i, hints, eventOrder, kept);
    for (EventWait wait : keptHints)
      awaited[wait.event] = true;
    task.removeHintsAttr();
    if (!keptHints.empty())
      task.setHintsAttr(symbols(keptHints, [](EventWait) { return true; }, eventOf));
  }
  for (auto [i, task] : llvm::enumerate(tasks))
    task.setSignalsAttr(symbols(
        nodes[i].signals, [&](int event) { return bool(awaited[event]); },
        [](int event) { return event; }));
  for (auto [i, event] : llvm::enumerate(events))
    if (!awaited[i])
      event.erase();
    else
      event.setHint(!acquired[i]);
  return success();
}

struct ElideEvents : impl::ElideEventsBase<ElideEvents> {
  void runOnOperation() override {
    for (auto program : getOperation().getOps<ProgramOp>())
      if (failed(elideEvents(program)))
        return signalPassFailure();
  }
};
} // namespace
} // namespace mlir::mk
