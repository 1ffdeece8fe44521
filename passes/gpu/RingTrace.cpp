// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The control flow of a trace, and the uses of the ring on its way; RingNumbers.cpp has its
// numbers.
#include "passes/gpu/RingTrace.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk;

RingTrace::RingTrace(RingSlice &slice, mk_task::ProgramOp program, const RingInputs &inputs,
                     int64_t thread)
    : slice(slice), program(program), inputs(inputs), thread(thread) {}

LogicalResult RingTrace::run(func::FuncOp main) { return runBlock(main.getBody().front()); }

LogicalResult RingTrace::refuse(Operation *op, const Twine &why) {
  InFlightDiagnostic error = op->emitOpError() << why;
  if (!kind.empty())
    error << " (in kind '" << kind << "')";
  return error;
}

SmallVector<MaybeNumber> RingTrace::getAll(ValueRange range) {
  return llvm::map_to_vector(range, [&](Value value) { return get(value); });
}

void RingTrace::setAll(ValueRange range, ArrayRef<MaybeNumber> numbers) {
  for (auto [value, number] : llvm::zip_equal(range, numbers))
    set(value, number);
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

LogicalResult RingTrace::runBlock(Block &block) {
  for (Operation *op : slice.of(&block)) {
    if (--budget < 0)
      return refuse(op, "is in a loop that does not end");
    if (failed(runOp(op)))
      return failure();
  }
  return success();
}

LogicalResult RingTrace::runOp(Operation *op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](scf::IfOp ifOp) { return runIf(ifOp); })
      .Case([&](scf::IndexSwitchOp choose) { return runSwitch(choose); })
      .Case([&](scf::ForOp loop) { return runFor(loop); })
      .Case([&](scf::WhileOp loop) { return runWhile(loop); })
      .Case([&](func::CallOp call) { return runCall(call); })
      .Default([&](Operation *) {
        if (usesRing(op) && failed(runRing(op)))
          return failure();
        if (op->getNumResults() && !op->hasTrait<OpTrait::IsTerminator>())
          set(op->getResult(0), evaluate(op));
        return success();
      });
}

/// Runs all of them, as nobody knows which it is.
LogicalResult RingTrace::oneOf(Operation *op, ArrayRef<Region *> regions) {
  if (slice.hasUses(op))
    return refuse(op, "decides on a use of the ring by what is not a number");
  std::optional<SmallVector<MaybeNumber>> results;
  for (Region *region : regions) {
    if (region->empty())
      continue;
    if (failed(runBlock(region->front())))
      return failure();
    SmallVector<MaybeNumber> found = getAll(region->front().getTerminator()->getOperands());
    if (results)
      for (auto [a, b] : llvm::zip_equal(*results, found))
        a = join(a, b);
    else
      results = found;
  }
  if (op->getNumResults())
    setAll(op->getResults(), *results);
  return success();
}

LogicalResult RingTrace::runIf(scf::IfOp op) {
  std::optional<int64_t> condition = constantOf(get(op.getCondition()));
  if (!condition)
    return oneOf(op, {&op.getThenRegion(), &op.getElseRegion()});
  Region &taken = *condition ? op.getThenRegion() : op.getElseRegion();
  if (taken.empty())
    return success();
  if (failed(runBlock(taken.front())))
    return failure();
  setAll(op.getResults(), getAll(taken.front().getTerminator()->getOperands()));
  return success();
}

LogicalResult RingTrace::runSwitch(scf::IndexSwitchOp op) {
  std::optional<int64_t> argument = constantOf(get(op.getArg()));
  if (!argument) {
    SmallVector<Region *> all = {&op.getDefaultRegion()};
    for (Region &region : op.getCaseRegions())
      all.push_back(&region);
    return oneOf(op, all);
  }
  const auto *found = llvm::find(op.getCases(), *argument);
  Region &taken = found == op.getCases().end() ? op.getDefaultRegion()
                                               : op.getCaseRegions()[found - op.getCases().begin()];
  if (failed(runBlock(taken.front())))
    return failure();
  setAll(op.getResults(), getAll(taken.front().getTerminator()->getOperands()));
  return success();
}

LogicalResult RingTrace::runFor(scf::ForOp op) {
  MaybeNumber from = get(op.getLowerBound()), to = get(op.getUpperBound());
  std::optional<int64_t> step = constantOf(get(op.getStep()));
  bool known = from && to && step && *step > 0 && from->begins == to->begins &&
               from->streams == to->streams && from->instruction == to->instruction;
  SmallVector<MaybeNumber> state = getAll(op.getInitArgs());
  Block &body = *op.getBody();
  auto iterate = [&](MaybeNumber iv) -> LogicalResult {
    set(op.getInductionVar(), iv);
    setAll(op.getRegionIterArgs(), state);
    return runBlock(body);
  };
  if (known) {
    for (Number iv = *from; iv.constant < to->constant; iv.constant += *step) {
      if (failed(iterate(iv)))
        return failure();
      state = getAll(body.getTerminator()->getOperands());
    }
  } else {
    if (slice.hasUses(op))
      return refuse(op, "repeats uses of the ring by what is not a number");
    for (bool changed = true; changed;) {
      if (failed(iterate(std::nullopt)))
        return failure();
      changed = false;
      for (auto [now, next] : llvm::zip_equal(state, getAll(body.getTerminator()->getOperands()))) {
        MaybeNumber joined = join(now, next);
        changed |= joined != now;
        now = joined;
      }
    }
  }
  setAll(op.getResults(), state);
  return success();
}

LogicalResult RingTrace::runWhile(scf::WhileOp op) {
  SmallVector<MaybeNumber> state = getAll(op.getInits());
  scf::ConditionOp condition = op.getConditionOp();
  for (;;) {
    setAll(op.getBeforeArguments(), state);
    if (failed(runBlock(*op.getBeforeBody())))
      return failure();
    SmallVector<MaybeNumber> passed = getAll(condition.getArgs());
    std::optional<int64_t> more = constantOf(get(condition.getCondition()));
    if (more && !*more) {
      setAll(op.getResults(), passed);
      return success();
    }
    if (!more && slice.hasUses(op))
      return refuse(op, "repeats uses of the ring by what is not a number");
    setAll(op.getAfterArguments(), passed);
    if (failed(runBlock(*op.getAfterBody())))
      return failure();
    SmallVector<MaybeNumber> next = getAll(op.getYieldOp()->getOperands());
    if (more) {
      state = next;
      continue;
    }
    bool changed = false;
    for (auto [now, then] : llvm::zip_equal(state, next)) {
      MaybeNumber joined = join(now, then);
      changed |= joined != now;
      now = joined;
    }
    if (!changed) {
      setAll(op.getResults(), passed);
      return success();
    }
  }
}

LogicalResult RingTrace::runCall(func::CallOp op) {
  func::FuncOp function = slice.callee(op);
  if (!function || function.isExternal())
    return success(); // nothing is known of its results
  StringRef before = std::exchange(kind, function.getName());
  Block &body = function.getBody().front();
  setAll(body.getArguments(), getAll(op.getOperands()));
  if (failed(runBlock(body)))
    return failure();
  setAll(op.getResults(), getAll(body.getTerminator()->getOperands()));
  kind = before;
  return success();
}

//===----------------------------------------------------------------------===//
// Uses
//===----------------------------------------------------------------------===//

LogicalResult RingTrace::runRing(Operation *op) {
  auto begin = [&](Value slot, MaybeNumber waitedFor, MaybeNumber parity) -> RingUse & {
    RingUse use;
    use.op = op;
    use.kind = kind;
    use.holds = std::exchange(holds, {});
    use.slot = get(slot);
    if (use.slot != waitedFor)
      use.slot = std::nullopt; // it was not free
    use.parity = parity;
    use.copied = std::exchange(copied, 0);
    emptySlot = emptyParity = std::nullopt;
    return uses.emplace_back(use);
  };
  if (auto what = dyn_cast<mk_cta::RingHoldsOp>(op)) {
    holds = getAll(what.getWhat());
  } else if (auto await = dyn_cast<mk_cta::RingAwaitOp>(op)) {
    if (await.getWhat() == mk_cta::RingWait::full) {
      begin(await.getSlot(), get(await.getSlot()), get(await.getParity()));
    } else {
      emptySlot = get(await.getSlot());
      emptyParity = get(await.getParity());
    }
  } else if (auto fill = dyn_cast<mk_cta::RingFillOp>(op)) {
    RingUse &use = begin(fill.getSlot(), emptySlot, emptyParity);
    use.bytes = get(fill.getBytes());
    use.whole = true;
  } else if (auto copy = dyn_cast<mk_cta::RingCopyOp>(op)) {
    std::optional<int64_t> bytes = constantOf(get(copy.getBytes()));
    if (!bytes || get(copy.getSlot()) != emptySlot)
      return refuse(op, "copies what is no number of bytes, or to a slot that was not waited for");
    copied += *bytes;
  } else if (auto announce = dyn_cast<mk_cta::RingAnnounceOp>(op)) {
    begin(announce.getSlot(), emptySlot, emptyParity).bytes = get(announce.getBytes());
  } else if (auto release = dyn_cast<mk_cta::RingReleaseOp>(op)) {
    MaybeNumber exists = release.getExists() ? get(release.getExists()) : Number{1};
    if (!constantOf(exists))
      return refuse(op, "decides on a use of the ring by what is not a number");
    if (*exists == Number{0})
      return success();
    MaybeNumber slot = get(release.getSlot());
    auto last = llvm::find_if(llvm::reverse(uses),
                              [&](const RingUse &use) { return slot && use.slot == slot; });
    if (last == uses.rend())
      return refuse(op, "gives back a slot that was not waited for");
    ++last->released;
  }
  return success();
}
