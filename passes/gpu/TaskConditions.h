// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Whether an instruction under conditions runs in a step: what the loader brings and what the
// consumers use, each half finds out from the words of the predicates, with the same code.
#ifndef MK_PASSES_GPU_TASKCONDITIONS_H
#define MK_PASSES_GPU_TASKCONDITIONS_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/Waiter.h"

namespace mlir::mk {

class TaskConditions {
public:
  TaskConditions(GpuBuilder &b, mk_task::ProgramOp program, Value context, Value worker,
                 bool ofLoader)
      : b(b), context(context), worker(worker), ofLoader(ofLoader), most(countMost(program)) {}

  /// Conditions that a family of the program has at most. Without any there is no code for them.
  static int64_t countMost(mk_task::ProgramOp program);
  /// Whether a family of the kind has any.
  static bool mayPass(mk_task::ProgramOp program, mk_task::KindOp kind);
  /// Whether instructions of the kind have something in the ring, so that the loader asks too.
  static bool loaderAsks(mk_task::KindOp kind);
  explicit operator bool() const { return most > 0; }

  /// Whether the instruction has any.
  Value some(Value instruction);
  /// What was asked last in the first place, an i32 that is carried from one instruction of a step
  /// to the next: of many that have one condition the first alone looks at its word.
  Value nothing() { return b.integer(-1); }
  /// Whether they hold, and whether that is known: false if it took too long. A predicate is asked
  /// for only if the conditions before it hold, for else nobody may have written it. The lanes of a
  /// warp are here together, and get one answer.
  struct Answer {
    Value met, known, last;
  };
  Answer ask(Value instruction, Value number, Value step, Value last);
  /// For the consumers: whether all that the instruction waits for has come, and whether its
  /// conditions are met; `plainly` waits for one that has none. Under conditions it waits whether
  /// it runs or not, since who waits for it relies on that; but for hints, which order nothing,
  /// only if it runs.
  Answer wait(Waiter &waiter, Value instruction, Value number, Value step, Value last,
              ArrayRef<mk_task::KindOp> kinds, function_ref<Value()> plainly);

private:
  Value bit(Value instruction, int64_t place);

  GpuBuilder &b;
  Value context, worker;
  bool ofLoader;
  int64_t most;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_TASKCONDITIONS_H
