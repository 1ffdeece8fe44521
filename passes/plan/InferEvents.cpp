// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/Passes.h"
#include "passes/analysis/AccessHistory.h"
#include <map>
#include <set>

namespace mlir::mk {
#define GEN_PASS_DEF_INFEREVENTS
#include "passes/Passes.h.inc"

namespace {
using namespace mk_task;

/// The tasks of a program in the model's order, and the families that each has to wait for.
struct EventPlan {
  std::vector<TaskOp> tasks;
  std::vector<FamilyOp> families;
  std::vector<int> familyOf;            // by task
  std::vector<int> firstTask, lastTask; // by family
  std::vector<std::set<int>> waits[2];  // by lag, by task: families
  // By task: of each flagged buffer that it reads the last family that writes it.
  std::vector<std::map<unsigned, int>> hints;
  std::vector<bool> awaited; // by family

  LogicalResult collect(ProgramOp program, AccessAnalysis &analysis);
  LogicalResult findDependencies(AccessAnalysis &analysis);
  void separateSteps(AccessAnalysis &analysis);
  void guardEvents();
  void apply(ProgramOp program);
};

std::string describe(TaskOp task) {
  return ("task '" + task.getFamily() + "' units [" + Twine(task.getBegin()) + ", " +
          Twine(task.getEnd()) + ") on worker " + Twine(task.getWorker()))
      .str();
}

LogicalResult EventPlan::collect(ProgramOp program, AccessAnalysis &analysis) {
  llvm::StringMap<int> numbers;
  for (TaskOp task : program.getBody().getOps<TaskOp>()) {
    auto [it, inserted] = numbers.try_emplace(task.getFamily(), families.size());
    int family = it->second;
    if (inserted) {
      families.push_back(cast<FamilyOp>(analysis.lookup(task.getFamily())));
      firstTask.push_back(tasks.size());
      lastTask.push_back(-1);
    } else if (lastTask[family] + 1 != int(tasks.size())) {
      return task.emitError(describe(task))
             << " stands apart from the other tasks of its family: a wait for all of them could "
                "never end";
    }
    lastTask[family] = tasks.size();
    tasks.push_back(task);
    familyOf.push_back(family);
  }
  for (auto &set : waits)
    set.resize(tasks.size());
  hints.resize(tasks.size());
  awaited.resize(families.size());
  return success();
}

LogicalResult EventPlan::findDependencies(AccessAnalysis &analysis) {
  int workers = 0;
  for (TaskOp task : tasks)
    workers = std::max<int>(workers, task.getWorker() + 1);
  AccessHistory history(analysis.getObjects(), workers);
  LogicalResult result = success();
  // The second step sees what the first one left behind, as every later step does.
  for (int step = 0; step < 2; ++step)
    for (auto [i, task] : llvm::enumerate(tasks)) {
      TaskPoint point = {int(i), familyOf[i], int(task.getWorker()), step,
                         int32_t(i + step * tasks.size())};
      SmallVector<Access> accesses =
          analysis.getAccesses(families[familyOf[i]], task.getBegin(), task.getEnd());
      history.visit(point, accesses, [&](const Conflict &conflict) {
        const TaskPoint &earlier = conflict.earlier;
        bool siblings = earlier.step == step && earlier.family == point.family;
        if (step == 1 && (siblings || conflict.destroyed) && succeeded(result)) {
          StringRef name = analysis.getObjects()[conflict.laterObject].name;
          if (conflict.destroyed)
            result = task.emitError(describe(task))
                     << " reads '" << name << "', but " << describe(tasks[earlier.task])
                     << " has written over it";
          else if (&earlier == &conflict.later)
            result = task.emitError(describe(task))
                     << " writes '" << name << "' in bytes of '"
                     << analysis.getObjects()[conflict.earlierObject].name
                     << "', which it uses too";
          else
            result = task.emitError(describe(task)) << " and " << describe(tasks[earlier.task])
                                                    << " of one family touch the same columns of '"
                                                    << name << "', one of them writing";
        }
        const MemoryObject &object = analysis.getObjects()[conflict.laterObject];
        if (isKeptApart(conflict, object))
          return; // see separateSteps
        if (step == 1 && earlier.worker != point.worker && object.flagged &&
            conflict.earlierWrites && !conflict.laterWrites) {
          auto [last, isFirst] = hints[i].try_emplace(conflict.laterObject, earlier.family);
          last->second = std::max(last->second, earlier.family);
        } else if (step == 1 && earlier.worker != point.worker) {
          waits[1 - earlier.step][i].insert(earlier.family);
          awaited[earlier.family] = true;
        }
      });
    }
  for (auto &of : hints)
    for (auto [object, family] : of)
      awaited[family] = true;
  return result;
}

/// Whoever uses a flagged buffer or a forwarded cache waits for all that have used it in the step
/// before.
void EventPlan::separateSteps(AccessAnalysis &analysis) {
  std::vector<std::set<int>> users(analysis.getObjects().size()); // families
  auto eachUse = [&](auto &&body) {
    for (auto [i, task] : llvm::enumerate(tasks))
      for (const Access &access :
           analysis.getAccesses(families[familyOf[i]], task.getBegin(), task.getEnd()))
        if (const MemoryObject &object = analysis.getObjects()[access.object];
            object.flagged || object.forwarded)
          body(i, access.object);
  };
  eachUse([&](int i, unsigned object) { users[object].insert(familyOf[i]); });
  eachUse([&](int i, unsigned object) {
    for (int family : users[object]) {
      bool own = firstTask[family] == lastTask[family] &&
                 tasks[firstTask[family]].getWorker() == tasks[i].getWorker();
      if (!own) {
        waits[1][i].insert(family);
        awaited[family] = true;
      }
    }
  });
}

/// Without a guard a fast worker's signal of the next step could stand in for a slow worker's of
/// this.
void EventPlan::guardEvents() {
  for (auto [i, task] : llvm::enumerate(tasks)) {
    int family = familyOf[i];
    auto siblings =
        ArrayRef(tasks).slice(firstTask[family], lastTask[family] - firstTask[family] + 1);
    if (awaited[family] &&
        llvm::any_of(siblings, [&](TaskOp other) { return other.getWorker() != task.getWorker(); }))
      waits[1][i].insert(family);
  }
}

void EventPlan::apply(ProgramOp program) {
  if (tasks.empty())
    return;
  MLIRContext *context = program.getContext();
  SymbolTable symbols(program);
  OpBuilder builder(tasks.front());
  std::vector<Attribute> events(families.size());
  for (auto [i, family] : llvm::enumerate(families)) {
    if (!awaited[i])
      continue;
    builder.setInsertionPoint(tasks.front());
    auto event = builder.create<EventOp>(
        family.getLoc(), builder.getStringAttr(family.getSymName() + ".done"),
        /*hint=*/UnitAttr(), builder.getI64IntegerAttr(lastTask[i] - firstTask[i] + 1));
    events[i] =
        FlatSymbolRefAttr::get(context, symbols.insert(event, Block::iterator(tasks.front())));
  }
  auto attribute = [&](const std::set<int> &wanted) {
    SmallVector<Attribute> list;
    for (int family : wanted)
      list.push_back(events[family]);
    return builder.getArrayAttr(list);
  };
  for (auto [i, task] : llvm::enumerate(tasks)) {
    task.setWaitsAttr(attribute(waits[0][i]));
    task.setPreviousAttr(attribute(waits[1][i]));
    // What a task waits for in any case it needs no hint for.
    std::set<int> only;
    for (auto [object, family] : hints[i])
      if (!waits[0][i].count(family))
        only.insert(family);
    if (!only.empty())
      task.setHintsAttr(attribute(only));
    task.setSignalsAttr(awaited[familyOf[i]] ? attribute({familyOf[i]}) : builder.getArrayAttr({}));
  }
}

struct InferEvents : impl::InferEventsBase<InferEvents> {
  void runOnOperation() override {
    for (auto program : getOperation().getOps<ProgramOp>()) {
      FailureOr<AccessAnalysis> analysis = AccessAnalysis::get(program);
      EventPlan plan;
      if (failed(analysis) || failed(plan.collect(program, *analysis)) ||
          failed(plan.findDependencies(*analysis)))
        return signalPassFailure();
      plan.separateSteps(*analysis);
      plan.guardEvents();
      plan.apply(program);
    }
  }
};
} // namespace
} // namespace mlir::mk
