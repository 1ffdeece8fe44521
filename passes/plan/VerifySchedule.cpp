// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/Passes.h"
#include "passes/analysis/AccessHistory.h"
#include "passes/analysis/HappensBefore.h"
#include "passes/analysis/SameValue.h"
#include "passes/analysis/TableConditions.h"
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
  LogicalResult verifyConflicts(const HappensBefore &order, const HappensBefore &runs);
  LogicalResult verifyFlagged(const HappensBefore &order);
  std::vector<int> inModelOrder();
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
  // Hints say when instructions run, but order no memory.
  std::vector<ScheduleNode> nodes, running;
  int ending = -1;
  for (const Instruction &instruction : table.instructions) {
    if (instruction.hasBody() && endsStep(analysis.getKind(table.getFamily(instruction))))
      ending = nodes.size();
    ScheduleNode node = {instruction.worker, {}, {}}, withHints = node;
    for (const Instruction::Wait &wait : instruction.waits) {
      withHints.waits.push_back({wait.event, wait.lag});
      if (!wait.hint)
        node.waits.push_back({wait.event, wait.lag});
    }
    if (instruction.signal >= 0)
      node.signals = withHints.signals = {instruction.signal};
    nodes.push_back(std::move(node));
    running.push_back(std::move(withHints));
  }
  HappensBefore runs(running, table.workers, table.events.size(), ending);
  if (!runs.getBlocked().empty())
    return reportBlocked(runs, running);
  HappensBefore order(nodes, table.workers, table.events.size(), ending);
  return success(succeeded(verifyCounts(order, nodes)) && succeeded(verifyConflicts(order, runs)) &&
                 succeeded(verifyFlagged(order)));
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

/// The instructions with bodies in the model's order, which is what their results must be as if run
/// in.
std::vector<int> Verifier::inModelOrder() {
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
  return sorted;
}

/// Copies of a flagged buffer serve every second step, and a word tells only whether it was
/// written; of a forwarded cache only what earlier steps left is read: all that use such memory
/// come after all that did in the step before. Within a step one family writes it, or two the same
/// words, and only what is written is read: a reader of anything else would wait for ever.
LogicalResult Verifier::verifyFlagged(const HappensBefore &order) {
  struct Use {
    Clock last;
    std::vector<int> users, earlyUsers;
    int writer = -1, reader = -1; // instructions
    ColumnSet written, read;
  };
  std::map<unsigned, Use> uses;
  for (int i : inModelOrder()) {
    const Instruction &instruction = table.instructions[i];
    for (const Access &access :
         analysis.getAccesses(table.getFamily(instruction), instruction.begin, instruction.end)) {
      const MemoryObject &object = analysis.getObjects()[access.object];
      if (!object.flagged && !object.forwarded)
        continue;
      Use &use = uses[access.object];
      use.last.resize(table.workers);
      int32_t &last = use.last[instruction.worker];
      last = std::max(last, order.getTime(i, 0));
      // What the step before left may be read before the instruction waits for anything.
      (access.early ? use.earlyUsers : use.users).push_back(i);
      if (object.forwarded)
        continue;
      auto fault = [&] {
        return emitError(table.getLoc(instruction), table.describe(instruction))
               << (access.write ? " writes" : " reads") << " flagged buffer '" << object.name
               << "'";
      };
      if (access.write && use.reader >= 0)
        return fault() << " after a task that reads it";
      if (access.write && use.writer >= 0 &&
          table.instructions[use.writer].family != instruction.family) {
        FamilyOp family = table.getFamily(instruction),
                 other = table.getFamily(table.instructions[use.writer]);
        if (!computeSame(other, analysis.getKind(other), family, analysis.getKind(family),
                         object.name))
          return fault() << ", which another family writes too";
      }
      (access.write ? use.writer : use.reader) = i;
      ColumnSet &columns = access.write ? use.written : use.read;
      if (columns.empty() || intersect(access.columns, columns) != access.columns)
        columns = unite(columns, access.columns);
      if (!access.write && intersect(use.written, access.columns) != access.columns)
        return fault() << " where no task of the step has written it: it would wait for ever";
    }
  }
  for (auto &[number, use] : uses) {
    std::vector<int> all(use.users);
    all.insert(all.end(), use.earlyUsers.begin(), use.earlyUsers.end());
    for (auto [place, i] : llvm::enumerate(all)) {
      bool early = place >= use.users.size();
      Clock known = early ? order.getClockWithoutWaits(i, 1) : Clock(order.getClock(i, 1));
      if (covers(known, use.last))
        continue;
      const Instruction &instruction = table.instructions[i];
      const MemoryObject &object = analysis.getObjects()[number];
      int other = *llvm::find_if(
          all, [&](int a) { return known[table.instructions[a].worker] < order.getTime(a, 0); });
      return emitError(table.getLoc(instruction), table.describe(instruction))
             << " uses " << (object.flagged ? "flagged buffer '" : "forwarded cache '")
             << object.name << "', which " << table.describe(table.instructions[other])
             << " uses in the step before: no event that orders memory is between them";
    }
  }
  return success();
}

LogicalResult Verifier::verifyConflicts(const HappensBefore &order, const HappensBefore &runs) {
  std::vector<int> sorted = inModelOrder();
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
        const MemoryObject &object = analysis.getObjects()[conflict.laterObject];
        if (isKeptApart(conflict, object))
          return; // see verifyFlagged
        // Who reads a flagged word looks at it until it is there, so it has to come, no more.
        bool looks = object.flagged && conflict.earlierWrites && !conflict.laterWrites;
        const HappensBefore &known = looks ? runs : order;
        if (!conflict.destroyed && !siblings && known.isBefore(earlier.task, earlier.step, i, step))
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
            failed(verifyConditions(program, *analysis, *table)) ||
            failed(Verifier(program, *analysis, *table).run()))
          return signalPassFailure();
      }
    }
  }
};
} // namespace
} // namespace mlir::mk
