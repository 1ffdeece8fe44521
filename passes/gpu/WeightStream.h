// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_WEIGHTSTREAM_H
#define MK_PASSES_GPU_WEIGHTSTREAM_H

#include "dialects/mk/Mk.h"
#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// The weights of a worker's instructions, as the copies that fill slots of the ring with them, in
/// the order of GpuLinear.cpp, step after step. A warp runs through them; what it carries begins
/// with whether it goes on.
class WeightStream {
public:
  WeightStream(GpuBuilder &b, mk_task::ProgramOp program, mk_task::TableOp table, Value context,
               Value worker)
      : b(b), program(program), table(table), context(context), worker(worker) {}

  /// `body` for every instruction of every step; `after` behind each step.
  SmallVector<Value>
  eachInstruction(ValueRange init,
                  function_ref<SmallVector<Value>(Value instruction, Value number, Value step,
                                                  ValueRange state)>
                      body,
                  function_ref<void(Value step)> after);
  /// `body` for every copy of an instruction: `bytes`, an i32, from `offset` in the arena.
  SmallVector<Value>
  eachCopy(Value instruction, ValueRange init,
           function_ref<SmallVector<Value>(Value offset, Value bytes, ValueRange state)> body);

private:
  /// What is known of a kind; `chunks` is 0 for one without tiles.
  struct Tiles {
    Value chunks, chunkBytes, group, ofRows;
  };
  Tiles tilesOf(Value kind);
  Value readRequest(StringRef name);

  GpuBuilder &b;
  mk_task::ProgramOp program;
  mk_task::TableOp table;
  Value context, worker;
  Value noRows; // whether the step asks for no logits
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_WEIGHTSTREAM_H
