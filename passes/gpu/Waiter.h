// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_WAITER_H
#define MK_PASSES_GPU_WAITER_H

#include "passes/gpu/SharedLayout.h"

namespace mlir::mk_task {
class KindOp;
}

namespace mlir::mk {

/// How the consumers of a CTA wait together: one thread looks, all go on behind a barrier.
struct Waiter {
  GpuBuilder &b;
  Value context, worker, thread;

  Value flag(int64_t place) { return SharedLayout::flag(b, place); }
  /// Whether the CTA is to go on.
  Value alive();
  /// `body` gives whether what is waited for has come; false once it is overdue.
  Value poll(function_ref<Value()> body);
  /// For all that the instruction waits for, in step number `step`. Under conditions: for hints
  /// only if they are met; `more` waits for more than that, given whether so much has arrived.
  struct Conditional {
    Value met;
    function_ref<Value(Value arrived)> more;
  };
  Value wait(Value instruction, Value number, Value step, Conditional conditional = {});
  /// Whether an instruction waits for nothing but one hint, so that it may look at the words at
  /// once.
  Value onlyHints(Value instruction);
  /// For the end of the step before step number `step`.
  Value waitForStep(Value number, Value step);
};

/// Whether the code of a kind begins with its wait: it has something to do before.
bool waitsItself(mk_task::KindOp kind);

} // namespace mlir::mk

#endif // MK_PASSES_GPU_WAITER_H
