// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"
#include <map>

namespace mlir::mk {
#define GEN_PASS_DEF_SPLITKINDS
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {
/// What code knows of the memory of a family, besides its place.
std::string describeMemory(FamilyOp family, const SymbolTable &symbols) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (ArrayAttr names : {family.getOperands(), family.getOutputs()})
    for (auto name : names.getAsRange<FlatSymbolRefAttr>()) {
      Operation *op = symbols.lookup(name.getValue());
      if (auto buffer = dyn_cast<BufferOp>(op))
        os << stringifyOrder(buffer.getOrder()) << (buffer.getFlagged() ? "f" : "")
           << (buffer.getInput() ? "i" : "") << buffer.getRecord().value_or(0);
      else if (auto weight = dyn_cast<mk_task::WeightOp>(op))
        os << stringifyLayout(weight.getLayout()) << (weight.getGathered() ? "g" : "")
           << (weight.getScale() ? "s" : "");
      os << ";";
    }
  return text;
}

struct SplitKinds : impl::SplitKindsBase<SplitKinds> {
  void runOnOperation() override {
    TargetAttr target = getTarget(getOperation());
    if (!target || !target.isGpu())
      return;
    for (auto program : getOperation().getOps<ProgramOp>())
      split(program);
  }

  static void split(ProgramOp program) {
    SymbolTable symbols(program);
    std::map<std::pair<Operation *, std::string>, KindOp> kinds; // by kind and memory
    DenseMap<Operation *, KindOp> last;                          // of those that a kind became
    for (auto family : program.getOps<FamilyOp>()) {
      auto kind = symbols.lookup<KindOp>(family.getKind());
      KindOp &own = kinds[{kind, describeMemory(family, symbols)}];
      if (!own && !last.contains(kind)) {
        last[kind] = own = kind;
      } else if (!own) {
        own = kind.clone();
        own->setLoc(family.getLoc());
        symbols.insert(own, std::next(Block::iterator(last[kind]))); // which gives it a name
        last[kind] = own;
      }
      family.setKind(own.getSymName());
    }
  }
};
} // namespace
} // namespace mlir::mk
