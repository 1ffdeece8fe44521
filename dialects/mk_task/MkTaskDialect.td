// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_TASK_DIALECT_TD
#define MK_TASK_DIALECT_TD

include "mlir/IR/OpBase.td"

def MkTask_Dialect : Dialect {
  let name = "mk_task";
  let cppNamespace = "::mlir::mk_task";
  let summary = "the plan: memory, kinds, families, tasks, events, table";
  let description = [{
    The middle level. One `mk_task.program` holds everything that a run needs but the machine code:

    ```
    mk --mk-form-tasks--> kinds, families, buffers, weights        what is computed, where it lies
       --mk-tile-->       segments and work units of each kind     how it may be cut
       --mk-assign-workers--> tasks, each with a worker            who does what, in which order
       --mk-plan-memory-->    an offset for every buffer
       --mk-infer-events-->   an event for every true dependency   what must wait
       --mk-elide-events-->   those that others imply, removed
       --mk-plan-weights-->   the place of every packed tile
       --mk-build-table-->    the words that the workers execute
       --mk-verify-schedule   proof on those words
    ```

    **Words.** A *kind* is code: a body of `mk` ops over its arguments, compiled once. A *family* is a kind
    applied to one operator of the model. A *task* is a range of a family's work units, run by one worker
    without waiting inside. An *event* counts its arrivals for ever.

    **Memory model.** Tasks of one worker run in the order of their `mk_task.task` ops, step after step.
    A task begins once each event it waits for has `arrivals * (step + 1)` arrivals (`arrivals * step` for a
    wait on the *previous* step); it signals its event after its last write. Signal is release, wait is
    acquire. Two tasks that touch the same bytes, one of them writing, must be ordered by these rules alone;
    anything else is undefined behaviour, which `mk-verify-schedule` excludes.
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::mk::MkDialect"];
}

#endif // MK_TASK_DIALECT_TD
