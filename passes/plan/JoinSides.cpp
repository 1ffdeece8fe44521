// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/plan/JoinSides.h"

namespace mlir::mk {

using namespace mk_task;

namespace {
/// Who writes and who reads each buffer.
struct Uses {
  SmallVector<FamilyOp, 2> writers, readers;
};
struct Joiner {
  explicit Joiner(ProgramOp program);
  void join(FamilyOp family, ChooseOp choose);

  /// The family that makes a side and need not make it anywhere else; null if there is none.
  FamilyOp findMaker(FamilyOp family, Attribute side, ConditionAttr condition);

  ProgramOp program;
  SymbolTable symbols;
  DenseMap<Attribute, Uses> uses;
};
} // namespace

Joiner::Joiner(ProgramOp program) : program(program), symbols(program) {
  for (auto family : program.getBody().getOps<FamilyOp>()) {
    for (Attribute name : family.getOperands())
      uses[name].readers.push_back(family);
    for (Attribute name : family.getOutputs())
      uses[name].writers.push_back(family);
  }
}

FamilyOp Joiner::findMaker(FamilyOp family, Attribute side, ConditionAttr condition) {
  Uses &of = uses[side];
  if (of.writers.size() != 1 || of.readers.size() != 1)
    return {};
  ArrayAttr has = of.writers.front().getConditionsAttr(), own = family.getConditionsAttr();
  auto holds = [&](Attribute one) {
    return one == condition || (own && llvm::is_contained(own, one));
  };
  bool isExact = has && has.size() == (own ? own.size() : 0) + 1 && llvm::all_of(has, holds);
  return isExact ? of.writers.front() : FamilyOp();
}

void Joiner::join(FamilyOp family, ChooseOp choose) {
  auto operandOf = [&](Value value) {
    return cast<FlatSymbolRefAttr>(family.getOperands()[cast<BlockArgument>(value).getArgNumber()]);
  };
  FlatSymbolRefAttr predicate = operandOf(choose.getPredicate());
  SmallVector<std::pair<FamilyOp, Attribute>> makers;
  for (auto [value, taken] : {std::pair(choose.getTaken(), true), {choose.getOther(), false}}) {
    Attribute side = operandOf(value);
    FamilyOp maker =
        findMaker(family, side, ConditionAttr::get(program.getContext(), predicate, taken));
    if (!maker)
      return;
    makers.push_back({maker, side});
  }
  Attribute result = family.getOutputs()[0];
  for (auto [maker, side] : makers) {
    SmallVector<Attribute> outputs(maker.getOutputs().begin(), maker.getOutputs().end());
    std::replace(outputs.begin(), outputs.end(), side, result);
    maker.setOutputsAttr(ArrayAttr::get(program.getContext(), outputs));
    symbols.erase(symbols.lookup(cast<FlatSymbolRefAttr>(side).getValue()));
  }
  uses[result].writers = {makers[0].first, makers[1].first};
  family.erase();
}

void joinSides(ProgramOp program) {
  Joiner joiner(program);
  for (auto family : llvm::make_early_inc_range(program.getBody().getOps<FamilyOp>()))
    if (auto choose =
            dyn_cast_or_null<ChooseOp>(joiner.symbols.lookup<KindOp>(family.getKind()).getAnchor()))
      joiner.join(family, choose);
  // Kinds are there for their families.
  llvm::DenseSet<StringAttr> used;
  for (auto family : program.getBody().getOps<FamilyOp>())
    used.insert(family.getKindAttr().getAttr());
  for (auto kind : llvm::make_early_inc_range(program.getBody().getOps<KindOp>()))
    if (isa_and_nonnull<ChooseOp>(kind.getAnchor()) && !used.contains(kind.getSymNameAttr()))
      kind.erase();
}

} // namespace mlir::mk
