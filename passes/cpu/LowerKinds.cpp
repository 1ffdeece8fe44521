// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/cpu/KindEmitter.h"

namespace mlir::mk {
#define GEN_PASS_DEF_LOWERKINDS
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
struct LowerKinds : mk::impl::LowerKindsBase<LowerKinds> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!requireTarget(module) || !requireOptions(module))
      return signalPassFailure();
    for (auto program : module.getOps<mk_task::ProgramOp>()) {
      int64_t scratch = 0;
      for (auto kind : program.getOps<mk_task::KindOp>())
        if (failed(lower(program, kind, scratch)))
          return signalPassFailure();
      program.setScratch(scratch);
    }
  }

  LogicalResult lower(mk_task::ProgramOp program, mk_task::KindOp kind, int64_t &scratch) {
    if (!kind.getUnits())
      return kind.emitOpError("expects its work units: run mk-tile before");
    CodeBuilder b(kind.getLoc(), &getContext());
    b.setInsertionPointToEnd(getOperation().getBody());
    auto type = b.getFunctionType(
        {b.getType<mk_cta::ContextType>(), b.getType<mk_cta::InstructionType>(), b.getIndexType()},
        {});
    auto function = b.create<func::FuncOp>(kind.getSymName(), type);
    function.setPrivate();
    Block *entry = function.addEntryBlock();
    b.setInsertionPointToStart(entry);
    KindEmitter emitter(b, program, kind, entry->getArgument(0), entry->getArgument(1),
                        entry->getArgument(2));
    if (failed(emitter.emit()))
      return failure();
    b.create<func::ReturnOp>();
    scratch = std::max(scratch, emitter.scratchBytes());
    return success();
  }
};
} // namespace
