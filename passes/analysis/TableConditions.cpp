// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/TableConditions.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::mk_task {

using Held = SmallVector<ConditionAttr, 4>;

static Held getConditions(FamilyOp family) {
  ArrayAttr conditions = family.getConditionsAttr();
  return conditions ? Held(conditions.getAsRange<ConditionAttr>()) : Held();
}

namespace {
struct ConditionVerifier {
  LogicalResult verifyEffects(FamilyOp family);
  LogicalResult verifyWriters(Attribute name, ArrayRef<FamilyOp> families);
  LogicalResult verifyPredicates(FamilyOp family);
  LogicalResult verifyRead(FamilyOp family, Attribute name, ArrayRef<ConditionAttr> held);

  ProgramOp program;
  AccessAnalysis &analysis;
  llvm::MapVector<Attribute, SmallVector<FamilyOp, 2>> writers; // of buffers and caches
  DenseMap<Operation *, int64_t> places{};                      // in the model's order
  bool draws = false; // tokens, that later steps attend to
};
} // namespace

static bool covers(ArrayRef<ConditionAttr> held, ArrayRef<ConditionAttr> needed,
                   ConditionAttr without = {}) {
  return llvm::all_of(needed, [&](ConditionAttr condition) {
    return condition == without || llvm::is_contained(held, condition);
  });
}

/// The one condition of `a` whose other side `b` has; null if there is none.
static ConditionAttr findExclusion(ArrayRef<ConditionAttr> a, ArrayRef<ConditionAttr> b) {
  for (ConditionAttr condition : a)
    if (llvm::any_of(b, [&](ConditionAttr other) { return condition.excludes(other); }))
      return condition;
  return {};
}

/// What outlives the step is written in every step.
LogicalResult ConditionVerifier::verifyEffects(FamilyOp family) {
  if (getConditions(family).empty())
    return success();
  auto fault = [&] { return family.emitError("family '") << family.getSymName() << "' "; };
  if (endsStep(analysis.getKind(family)))
    return fault() << "ends the step, but only under a condition";
  for (Attribute name : family.getOutputs()) {
    Operation *output = analysis.lookup(cast<FlatSymbolRefAttr>(name).getValue());
    if (draws && isa<CacheOp>(output))
      return fault() << "writes cache " << name
                     << " only under a condition, but later steps read it";
  }
  return success();
}

/// Who may run in one step does not write the same buffer, if one of them may also be passed over.
LogicalResult ConditionVerifier::verifyWriters(Attribute name, ArrayRef<FamilyOp> families) {
  for (auto [i, a] : llvm::enumerate(families))
    for (FamilyOp b : families.take_front(i)) {
      Held ofA = getConditions(a), ofB = getConditions(b);
      if ((ofA.empty() && ofB.empty()) || findExclusion(ofA, ofB))
        continue;
      return FamilyOp(a).emitError("family '")
             << FamilyOp(a).getSymName() << "' and family '" << b.getSymName() << "' both write "
             << name << ", one under a condition: expected conditions that exclude each other";
    }
  return success();
}

/// A predicate has one number in a step: one family writes it, before all that ask for it.
LogicalResult ConditionVerifier::verifyPredicates(FamilyOp family) {
  for (ConditionAttr condition : getConditions(family)) {
    ArrayRef<FamilyOp> of = writers[condition.getBuffer()];
    if (of.size() != 1 || places[of.front()] >= places[family])
      return family.emitError("family '")
             << family.getSymName() << "' has a condition on " << condition.getBuffer()
             << ": expected one family before it that writes this, found " << of.size()
             << (of.empty() ? "" : " or a later one");
  }
  return success();
}

/// In the steps in which the conditions `held` hold, somebody has written what `family` reads.
LogicalResult ConditionVerifier::verifyRead(FamilyOp family, Attribute name,
                                            ArrayRef<ConditionAttr> held) {
  auto found = writers.find(name);
  if (found == writers.end()) // what the host has written, or a weight
    return success();
  SmallVector<Held, 2> of;
  for (FamilyOp writer : found->second)
    of.push_back(writer == family ? Held() : getConditions(writer));
  for (auto [i, a] : llvm::enumerate(of)) {
    if (covers(held, a))
      return success();
    for (const Held &b : ArrayRef(of).take_front(i))
      if (ConditionAttr choice = findExclusion(a, b))
        if (covers(held, a, choice) && llvm::all_of(b, [&](ConditionAttr c) {
              return c.excludes(choice) || llvm::is_contained(held, c);
            }))
          return success();
  }
  return family.emitError("family '")
         << family.getSymName() << "' reads " << name << ", which family '"
         << found->second.front().getSymName() << "' writes only under conditions that family '"
         << family.getSymName() << "' may run without";
}

LogicalResult verifyConditions(ProgramOp program, AccessAnalysis &analysis, Table &table) {
  if (llvm::none_of(table.families,
                    [](FamilyOp family) { return bool(family.getConditionsAttr()); }))
    return success();
  ConditionVerifier verifier = {program, analysis, {}};
  for (auto family : program.getBody().getOps<FamilyOp>()) {
    verifier.places[family] = verifier.places.size();
    verifier.draws |= isa_and_nonnull<mk::AdvanceOp>(analysis.getKind(family).getAnchor());
    for (Attribute name : family.getOutputs())
      verifier.writers[name].push_back(family);
  }
  for (auto &[name, families] : verifier.writers)
    if (failed(verifier.verifyWriters(name, families)))
      return failure();
  for (FamilyOp family : table.families) {
    if (failed(verifier.verifyEffects(family)) || failed(verifier.verifyPredicates(family)))
      return failure();
    Held held = getConditions(family);
    auto choose = dyn_cast_or_null<mk::ChooseOp>(analysis.getKind(family).getAnchor());
    for (auto [i, condition] : llvm::enumerate(held)) {
      // Words are waited for, if the conditions before hold; elsewhere any number will do.
      auto buffer = cast<BufferOp>(analysis.lookup(condition.getBuffer().getValue()));
      ArrayRef<ConditionAttr> before = buffer.getFlagged() ? ArrayRef(held).take_front(i) : held;
      if (failed(verifier.verifyRead(family, condition.getBuffer(), before)))
        return failure();
    }
    for (auto [i, name] : llvm::enumerate(family.getOperands())) {
      Held known = held;
      // Of an mk.choose only the side that is taken is read.
      if (choose) {
        Block &body = analysis.getKind(family).getBody().front();
        auto place = [&](Value value) { return cast<BlockArgument>(value).getArgNumber(); };
        bool isTaken = place(choose.getTaken()) == i, isOther = place(choose.getOther()) == i;
        auto predicate = family.getOperands()[place(choose.getPredicate())];
        if (isTaken != isOther && choose->getBlock() == &body)
          known.push_back(
              ConditionAttr::get(family.getContext(), cast<FlatSymbolRefAttr>(predicate), isTaken));
      }
      if (failed(verifier.verifyRead(family, name, known)))
        return failure();
    }
  }
  return success();
}

} // namespace mlir::mk_task
