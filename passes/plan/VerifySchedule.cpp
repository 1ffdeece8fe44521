// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/Passes.h"
#include "passes/analysis/AccessHistory.h"
#include "passes/analysis/HappensBefore.h"
#include "passes/analysis/TableMemory.h"

namespace mlir::mk {
#define GEN_PASS_DEF_VERIFYSCHEDULE
#include "passes/Passes.h.inc"

namespace {
using namespace mk_task;

/// The proof that one table's instructions run in an order that gives what the model's order gives.
class Verifier {
public:
  Verifier(ProgramOp program, AccessAnalysis &analysis, Table &table)
      : program(program), analysis(analysis), table(table) {}

  LogicalResult run() { return success(succeeded(verifyArrivals()) && succeeded(verifyOrder())); }

private:
  LogicalResult verifyArrivals();
  LogicalResult verifyOrder();
  LogicalResult reportBlocked(const HappensBefore &order, ArrayRef<ScheduleNode> nodes);
  LogicalResult verifyCounts(const HappensBefore &order, ArrayRef<ScheduleNode> nodes);
  LogicalResult verifyConflicts(const HappensBefore &order);
  void reportConflict(const Conflict &conflict);

  ProgramOp program;
  AccessAnalysis &analysis;
  Table &table;
};

LogicalResult Verifier::verifyArrivals() {
  std::vector<int64_t> signals(table.events.size());
  for (const Instruction &instruction : table.instructions)
    if (instruction.signal >= 0)
      ++signals[instruction.signal];
  for (const Instruction &instruction : table.instructions)
    for (const Instruction::Wait &wait : instruction.waits) {
      if (wait.arrivals == signals[wait.event] && wait.arrivals > 0)
        continue;
      return emitError(table.getLoc(instruction), table.describe(instruction))
             << " waits for " << wait.arrivals << " signals of event '"
             << table.events[wait.event].getSymName() << "', which has " << signals[wait.event]
             << " in a step";
    }
  return success();
}

LogicalResult Verifier::verifyOrder() {
  std::vector<ScheduleNode> nodes;
  for (const Instruction &instruction : table.instructions) {
    ScheduleNode node = {instruction.worker, {}, {}};
    for (const Instruction::Wait &wait : instruction.waits)
      node.waits.push_back({wait.event, wait.lag});
    if (instruction.signal >= 0)
      node.signals.push_back(instruction.signal);
    nodes.push_back(std::move(node));
  }
  HappensBefore order(nodes, table.workers, table.events.size());
  if (!order.getBlocked().empty())
    return reportBlocked(order, nodes);
  if (failed(verifyCounts(order, nodes)))
    return failure();
  return verifyConflicts(order);
}

LogicalResult Verifier::reportBlocked(const HappensBefore &order, ArrayRef<ScheduleNode> nodes) {
  // Every blocked wait lacks a signal from behind another one: following them leads into the
  // circle.
  std::vector<std::pair<int, int>> stopOf(table.workers, {-1, -1});
  std::vector<int> place(nodes.size());
  for (auto [node, event] : order.getBlocked())
    stopOf[nodes[node].worker] = {node, event};
  auto [node, event] = order.getBlocked().front();
  InFlightDiagnostic error =
      emitError(table.getLoc(table.instructions[node]), table.describe(table.instructions[node]))
      << " waits for ever for event '" << table.events[event].getSymName() << "'";
  std::vector<bool> seen(table.workers);
  while (!seen[nodes[node].worker]) {
    seen[nodes[node].worker] = true;
    int missing =
        -1; // instructions stand in program order, so a later number is later on its worker
    for (auto [i, other] : llvm::enumerate(nodes))
      if (llvm::is_contained(other.signals, event) && stopOf[other.worker].first >= 0 &&
          int(i) >= stopOf[other.worker].first)
        missing = i;
    if (missing < 0)
      break;
    const Instruction &signaller = table.instructions[missing];
    auto [stop, stopEvent] = stopOf[signaller.worker];
    Diagnostic &note = error.attachNote(table.getLoc(signaller))
                       << table.describe(signaller) << " would signal it, but ";
    if (stop != missing)
      note << table.describe(table.instructions[stop]) << " before it ";
    note << "waits for event '" << table.events[stopEvent].getSymName() << "'";
    node = stop;
    event = stopEvent;
  }
  return failure();
}

/// All signals of an event in step 0 come before any of step 1.
LogicalResult Verifier::verifyCounts(const HappensBefore &order, ArrayRef<ScheduleNode> nodes) {
  for (size_t event = 0; event < table.events.size(); ++event) {
    std::vector<int> signallers;
    for (auto [i, node] : llvm::enumerate(nodes))
      if (llvm::is_contained(node.signals, int(event)))
        signallers.push_back(i);
    Clock needed = order.getSignalTimes(event, 0);
    for (int later : signallers) {
      if (covers(order.getClock(later, 1), needed))
        continue;
      int earlier =
          *llvm::find_if(signallers, [&](int node) { return !order.isBefore(node, 0, later, 1); });
      InFlightDiagnostic error = emitError(table.getLoc(table.instructions[later]),
                                           table.describe(table.instructions[later]))
                                 << " can signal event '" << table.events[event].getSymName()
                                 << "' of the next step before "
                                 << table.describe(table.instructions[earlier])
                                 << " has signalled it in this step";
      return failure();
    }
  }
  return success();
}

static void printColumns(InFlightDiagnostic &error, ArrayRef<Columns> set) {
  for (auto [i, columns] : llvm::enumerate(set))
    error << (i ? ", [" : " [") << columns.begin << ", " << columns.end << ")";
}

void Verifier::reportConflict(const Conflict &conflict) {
  const Instruction &earlier = table.instructions[conflict.earlier.task];
  const Instruction &later = table.instructions[conflict.later.task];
  const MemoryObject &object = analysis.getObjects()[conflict.laterObject];
  const MemoryObject &other = analysis.getObjects()[conflict.earlierObject];
  bool sameStep = conflict.earlier.step == conflict.later.step;
  InFlightDiagnostic error = emitError(table.getLoc(later), table.describe(later))
                             << (conflict.laterWrites ? " writes " : " reads ");
  if (object.space == MemoryObject::Request) {
    error << object.name << ", which ";
  } else {
    error << (object.space == MemoryObject::Cache ? "cache '" : "buffer '") << object.name << "'";
    for (const Access &access :
         analysis.getAccesses(table.getFamily(later), later.begin, later.end))
      if (access.object == conflict.laterObject && access.write == conflict.laterWrites) {
        error << (access.shares ? " shares" : " columns");
        printColumns(error, access.columns);
      }
    if (object.space == MemoryObject::Activations)
      error << " in bytes [" << object.begin << ", " << object.end << ")";
    error << " that ";
  }
  error << table.describe(earlier) << (conflict.earlierWrites ? " writes" : " reads")
        << (sameStep ? "" : " in the step before");
  if (conflict.laterObject != conflict.earlierObject)
    error << " as '" << other.name << "' in bytes [" << other.begin << ", " << other.end << ")";
  if (conflict.destroyed)
    error << ": nothing is left to read";
  else if (&earlier == &later)
    error << ": one task cannot do both";
  else if (sameStep && earlier.family == later.family)
    error << ": tasks of one family have no order";
  else
    error << ": no event orders them";
  error.attachNote(table.getLoc(earlier)) << "the other task's family is here";
}

LogicalResult Verifier::verifyConflicts(const HappensBefore &order) {
  // The model's order of the instructions, which is what their results must be as if run in.
  llvm::DenseMap<Operation *, int> rank;
  for (auto family : program.getBody().getOps<FamilyOp>())
    rank.try_emplace(family, rank.size());
  std::vector<int> sorted;
  for (auto [i, instruction] : llvm::enumerate(table.instructions))
    if (instruction.hasBody())
      sorted.push_back(i);
  llvm::stable_sort(sorted, [&](int a, int b) {
    return rank[table.getFamily(table.instructions[a])] <
           rank[table.getFamily(table.instructions[b])];
  });

  AccessHistory history(analysis.getObjects(), table.workers);
  bool failed = false;
  for (int step = 0; step < 2; ++step)
    for (int i : sorted) {
      const Instruction &instruction = table.instructions[i];
      TaskPoint point = {i, instruction.family, instruction.worker, step, order.getTime(i, step)};
      auto accesses =
          analysis.getAccesses(table.getFamily(instruction), instruction.begin, instruction.end);
      history.visit(point, accesses, [&](const Conflict &conflict) {
        // Step 0 has no step before it; step 1 sees everything that any step sees.
        if (failed || step == 0)
          return;
        const TaskPoint &earlier = conflict.earlier;
        bool siblings = earlier.step == step && earlier.family == point.family;
        if (!conflict.destroyed && !siblings && order.isBefore(earlier.task, earlier.step, i, step))
          return;
        failed = true;
        reportConflict(conflict);
      });
      if (failed)
        return failure();
    }
  return success();
}

struct VerifySchedule : impl::VerifyScheduleBase<VerifySchedule> {
  void runOnOperation() override {
    markAllAnalysesPreserved();
    for (auto program : getOperation().getOps<ProgramOp>()) {
      FailureOr<AccessAnalysis> analysis = AccessAnalysis::get(program);
      if (failed(analysis))
        return signalPassFailure();
      for (TableOp op : program.getBody().getOps<TableOp>()) {
        FailureOr<Table> table = Table::decode(op, *analysis);
        if (failed(table) || failed(verifyTableMemory(program, *analysis, *table)) ||
            failed(Verifier(program, *analysis, *table).run()))
          return signalPassFailure();
      }
    }
  }
};
} // namespace
} // namespace mlir::mk
