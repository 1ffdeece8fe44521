// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FLAGBUFFERS
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {
/// Every word is cleared in every step in which its row was used, so rows of very many ranges of
/// attention are better off with events.
constexpr int64_t kMaxRowBytes = 1 << 20;

struct Uses {
  SmallVector<FamilyOp> writers, readers;
  bool decides = false; // families have conditions on it, which look at its words
};

struct FlagBuffers : impl::FlagBuffersBase<FlagBuffers> {
  void runOnOperation() override {
    TargetAttr target = requireTarget(getOperation());
    if (!target)
      return signalPassFailure();
    if (!target.isGpu())
      return;
    for (auto program : getOperation().getOps<ProgramOp>())
      flag(program);
  }

  static void flag(ProgramOp program) {
    SymbolTable symbols(program);
    llvm::MapVector<Operation *, Uses> uses;
    for (auto family : program.getBody().getOps<FamilyOp>()) {
      for (auto name : family.getOperands().getAsRange<FlatSymbolRefAttr>())
        uses[symbols.lookup(name.getValue())].readers.push_back(family);
      for (auto name : family.getOutputs().getAsRange<FlatSymbolRefAttr>())
        uses[symbols.lookup(name.getValue())].writers.push_back(family);
      if (ArrayAttr conditions = family.getConditionsAttr())
        for (auto condition : conditions.getAsRange<ConditionAttr>())
          uses[symbols.lookup(condition.getBuffer().getValue())].decides = true;
    }
    // Threads of a serial kind go over all of their rows with loads of their own, but for a router
    // and what a predicate is made of: who waits for a route does so in every layer.
    auto looks = [&](FamilyOp family) {
      auto kind = symbols.lookup<KindOp>(family.getKind());
      return kind.getKindClass() != KindClass::serial ||
             isa<TopkRouteOp, AcrossRowsOp>(kind.getAnchor());
    };
    for (auto &[op, of] : uses) {
      auto buffer = dyn_cast<BufferOp>(op);
      if (!buffer || buffer.getRequest() || of.writers.size() != 1 ||
          (of.readers.empty() && !of.decides) ||
          llvm::is_contained(of.readers, of.writers.front()) || !looks(of.writers.front()) ||
          !llvm::all_of(of.readers, looks) || buffer.getSymName() == "logits")
        continue;
      auto type = cast<RankedTensorType>(buffer.getType());
      bool whole = isa<AcrossRowsOp>(
          symbols.lookup<KindOp>(of.writers.front().getKind()).getAnchor()); // a thread a column
      bool words = type.getRank() == 2 &&
                   (type.getElementType().isF32() ||
                    (type.getElementType().isBF16() && type.getDimSize(1) % 2 == 0 && !whole));
      if (words && buffer.getPitch() <= kMaxRowBytes)
        buffer.setFlagged(true);
    }
  }
};
} // namespace
} // namespace mlir::mk
