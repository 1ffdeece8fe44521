// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_RECORDROWS
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {
/// One record with a part for each buffer.
void place(ArrayRef<BufferOp> buffers) {
  int64_t end = 0;
  for (BufferOp buffer : buffers) {
    buffer.setOffset(end);
    end += buffer.getRowBytes();
  }
  for (BufferOp buffer : buffers)
    buffer.setRecord(end);
}

struct RecordRows : impl::RecordRowsBase<RecordRows> {
  void runOnOperation() override {
    TargetAttr target = getTarget(getOperation());
    if (!target || !target.isGpu())
      return;
    for (auto program : getOperation().getOps<ProgramOp>())
      record(program);
  }

  static void record(ProgramOp program) {
    SymbolTable symbols(program);
    SmallVector<BufferOp> results; // what is returned twice once
    bool finishes = false;
    for (auto family : program.getOps<FamilyOp>()) {
      KindOp kind = symbols.lookup<KindOp>(family.getKind());
      if (!isa<FinishOp>(kind.getAnchor()))
        continue;
      finishes = true;
      for (auto name : family.getOperands().getAsRange<FlatSymbolRefAttr>())
        if (auto buffer = symbols.lookup<BufferOp>(name.getValue());
            !llvm::is_contained(results, buffer))
          results.push_back(buffer);
    }
    if (!finishes)
      return;
    SmallVector<BufferOp> inputs;
    for (auto buffer : program.getOps<BufferOp>())
      if (buffer.getInput())
        inputs.push_back(buffer);
    place(inputs);
    place(results);
  }
};
} // namespace
} // namespace mlir::mk
