// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_TABLEWALK_H
#define MK_PASSES_GPU_TABLEWALK_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// The kinds of a table, in the order of their numbers in instructions.
SmallVector<mk_task::KindOp> kindsOf(mk_task::ProgramOp program, mk_task::TableOp table);

/// Whether a kind's number is that of one of those.
Value isOneOf(GpuBuilder &b, Value kind, ArrayRef<mk_task::KindOp> kinds,
              function_ref<bool(mk_task::KindOp)> which);

/// How the warps of a CTA go through the instructions of their worker.
struct TableWalk {
  GpuBuilder &b;
  Value context, worker;

  Value instructionAt(Value number);
  Value field(Value instruction, StringRef name, int64_t i = 0);
  using Body =
      function_ref<SmallVector<Value>(Value instruction, Value number, ValueRange carried)>;
  /// Over all instructions, while the first value that `body` carries on is true. Gives the number
  /// of the instruction that it did not come to, then what was carried.
  SmallVector<Value> walk(ValueRange carried, Body body);
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_TABLEWALK_H
