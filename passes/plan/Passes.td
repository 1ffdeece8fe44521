// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_PLAN_TD
#define MK_PASSES_PLAN_TD

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// Plan: kinds, work units, workers, memory, the table
//===----------------------------------------------------------------------===//

def FormTasks : Pass<"mk-form-tasks", "::mlir::ModuleOp"> {
  let summary = "turn every op of the model into a kind and a family over named memory";
  let description = [{
    From here on the model is a plan: values become buffers, weights and caches that have a name and a
    place, and each op becomes a family of a kind. Ops that differ only in the memory they touch share one
    kind, which is why code size does not grow with the number of layers.

    A weight of several matrices (q, k and v) becomes one, and a table that is both multiplied and looked up
    (tied embeddings) is stored once. A cache is memory, not a value: an op that would need its contents
    from before an append that has already happened is refused.

    What only one side of an `mk.choose` needs gets that side as a condition: its tasks are passed over in steps that take
    the other. Where each side is the work of one family, both write the result of the choose, which then is no family.

    **Requires** `func @step(tokens, positions, slots, rows, inputs...)` in `mk` ops, with attention and argmax split,
    and `mk.advance` or `mk.finish`, if there, as the last op. Arguments behind the fourth have `mk.name` and `mk.input`.
    **Ensures** one `mk_task.program @step` in place of the function.

    ```mlir
    func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>)
        -> tensor<?x64xf32> {
      %w = mk.weight @embed : tensor<64x64xbf16>
      %x = mk.embedding %w, %tokens : (tensor<64x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
      return %x : tensor<?x64xf32>
    }
    // becomes
    mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>
    mk_task.weight @embed [@embed] layout(rows) : tensor<64x64xbf16>
    mk_task.buffer @logits domain(tokens) : tensor<?x64xf32>
    mk_task.kind @embedding class(columns) domain(tokens) {
    ^bb0(%table: tensor<64x64xbf16>, %tokens: tensor<?xi32>):
      %x = mk.embedding %table, %tokens : (tensor<64x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
      mk.yield %x : tensor<?x64xf32>
    }
    mk_task.family @embedding_1 kind(@embedding) [@embed, @tokens] -> [@logits]
    ```
  }];
  let dependentDialects = ["::mlir::mk_task::MkTaskDialect"];
}

def Tile : Pass<"mk-tile", "::mlir::ModuleOp"> {
  let summary = "cut every kind into work units";
  let description = [{
    A unit of a matrix kind is one weight tile: two groups of `lanes` rows. What the epilogue does with the
    accumulators decides which rows those are: the halves of a head that `mk.rope` rotates, or column i of
    both inputs of a `mk.glu`, must meet in one tile, or the epilogue would wait for another task. The
    packer orders the rows of the weight accordingly, so the pairing costs nothing at run time.

    **Requires** kinds (`mk-form-tasks`) and `mk.target`.
    **Ensures** `units` on every kind and `segments` on every kind of class `tiles` or `columns`.

    ```mlir
    mk_task.kind @gated class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<192x64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<192x64xf32>) -> tensor<?x96xf32> epilogue {
      ^bb0(%acc: tensor<?x192xf32>):
        %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
        %u = mk.slice %acc {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
        %h = mk.glu %g, %u : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
        mk.yield %h : tensor<?x96xf32>
      }
      mk.yield %y : tensor<?x96xf32>
    }
    // becomes, with 16 lanes: tile i has rows 16 i of the gate and 96 + 16 i of the other
    mk_task.kind @gated class(tiles) domain(tokens) units(6)
      segments [#mk_task.segment<base = 0, limit = 192, outer = 1, stride = 192, half = 96, partner = 96>] {
    ```
  }];
  let options = [Option<"dump", "dump", "bool", "false", "print the plan to standard error">];
}

def AssignWorkers : Pass<"mk-assign-workers", "::mlir::ModuleOp"> {
  let summary = "give every work unit a worker";
  let description = [{
    Each family is cut into at most one range of units per worker. The cut balances bytes over the whole
    program, not per family: a family of 3 units on 2 workers leaves one of them 1 unit behind, and the next
    family's cut makes up for it. That is worth it because a worker that is ahead streams the weights of
    later families while it waits. On a GPU, where a worker has a few units of a family, no worker gets two more
    than another. Families too small to be worth an event run on one worker.

    **Requires** `units` on every kind (`mk-tile`) and `mk.target`.
    **Ensures** every unit is in exactly one `mk_task.task`; tasks stand in program order without waits.

    ```mlir
    mk_task.family @proj kind(@linear) [@x, @w] -> [@y]                 // 5 units, 2 workers
    // is followed by
    mk_task.task @proj units(0, 3) worker(0) wait [] previous [] signal []
    mk_task.task @proj units(3, 5) worker(1) wait [] previous [] signal []
    ```
  }];
  let options = [Option<"dump", "dump", "bool", "false", "print the plan to standard error">];
}

def FlagBuffers : Pass<"mk-flag-buffers", "::mlir::ModuleOp"> {
  let summary = "let rows between tasks of a GPU say themselves that they are there";
  let description = [{
    A release waits until the memory has taken all that the CTA wrote, and that stands in line behind the bytes
    that the loader has on their way; with the acquire it costs about as much as a small operator. Words that
    say themselves whether they have been written need neither (see `mk_task.buffer`). A buffer gets such words
    if one family of tiles, experts, columns or attention, a router or an `mk.across_rows` writes it and such families alone
    read it, and if its rows are short enough to be cleared in every step. So does a predicate, whoever else reads it: who
    has a condition looks at its word. What both sides of an `mk.choose` write has two writers, and events.
    For a CPU the pass does nothing.

    **Requires** `mk-form-tasks` and `mk.target`. **Ensures** `flagged` on these buffers; values are unchanged.

    ```mlir
    mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @a domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @logits domain(tokens) : tensor<?x64xf32>
    mk_task.kind @silu class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>):
      %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
    mk_task.family @first kind(@silu) [@x] -> [@a]
    mk_task.family @second kind(@silu) [@a] -> [@logits]
    // becomes
    mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @a flagged domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @logits domain(tokens) : tensor<?x64xf32>
    ```
  }];
}

def PlanMemory : Pass<"mk-plan-memory", "::mlir::ModuleOp"> {
  let summary = "give every activation buffer its bytes";
  let description = [{
    A buffer's bytes are free again after the last family that reads it, and the smallest free gap that fits
    serves the next one: the arena stays near the size of one layer's activations, and so in cache. Buffers
    that the host reads (`@logits`, `@next`) and results that nobody reads keep their bytes to themselves. So do
    flagged buffers, which are written once a step and lie at the end, twice.

    **Requires** families in program order (`mk-form-tasks`) and `mk.options`.
    **Ensures** an `offset` on every buffer, `activations` and `flagged` on the program. Reuse orders tasks that would
    be free otherwise; `mk-infer-events` sees it, since it works on bytes.

    ```mlir
    mk_task.buffer @a domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @b domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @c domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @logits domain(tokens) : tensor<?x64xf32>
    mk_task.family @first kind(@embed) [@table, @tokens] -> [@a]
    mk_task.family @second kind(@silu) [@a] -> [@b]                     // reads @a for the last time
    mk_task.family @third kind(@silu) [@b] -> [@c]
    mk_task.family @fourth kind(@silu) [@c] -> [@logits]
    // becomes
    mk_task.buffer @a domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @b domain(tokens) offset(262144) : tensor<?x64xf32>
    mk_task.buffer @c domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @logits domain(tokens) offset(131072) : tensor<?x64xf32>
    ```
  }];
  let options = [Option<"dump", "dump", "bool", "false", "print the plan to standard error">];
}

def PlanWeights : Pass<"mk-plan-weights", "::mlir::ModuleOp"> {
  let summary = "lay the weights out in the order in which each worker reads them";
  let description = [{
    Each worker's tiles follow each other in its program order over the whole model, so that it reads one
    ascending stream that the hardware prefetchers follow across tasks and layers. The streams of the
    workers lie one after the other; vectors and looked-up tables lie row-major in the parameter arena.

    **Requires** tasks (`mk-assign-workers`) and `segments` on every kind.
    **Ensures** `stream` on every task of class `tiles`, `tile_offsets` and `segments` on `layout(tiles)`
    weights, `offset` on the others and on gathered ones, and the program's `stream` and `params` sizes.

    ```mlir
    mk_task.weight @w [@w] layout(tiles) : tensor<160x64xf32>           // 5 tiles of 128 * 64 bytes
    mk_task.family @proj kind(@linear) [@x, @w] -> [@y]
    mk_task.task @proj units(0, 3) worker(0) wait [] previous [] signal []
    mk_task.task @proj units(3, 5) worker(1) wait [] previous [] signal []
    // becomes
    mk_task.weight @w [@w] layout(tiles) segments [...] tile_offsets [0, 128, 256, 384, 512] : tensor<160x64xf32>
    mk_task.task @proj units(0, 3) worker(0) wait [] previous [] signal [] stream(0)
    mk_task.task @proj units(3, 5) worker(1) wait [] previous [] signal [] stream(384)
    ```
  }];
  let options = [Option<"dump", "dump", "bool", "false", "print the plan to standard error">];
}

def BuildTable : Pass<"mk-build-table", "::mlir::ModuleOp"> {
  let summary = "encode the tasks as the words that the workers execute";
  let description = [{
    The plan's names become numbers in the fixed-size instructions of `runtime/abi/Abi.def`. A task with
    more waits than an instruction holds is preceded by instructions that only wait.

    **Requires** offsets of all memory (`mk-plan-memory`, `mk-plan-weights`) and events on the tasks.
    **Ensures** one `mk_task.table`, which from here on is what runs; the tasks remain as its explanation.

    ```mlir
    mk_task.family @proj kind(@linear) [@x, @w] -> [@y]
    mk_task.task @proj units(0, 5) worker(0) wait [] previous [] signal [] stream(0)
    // is followed by, on one worker
    mk_task.table counts [1] kinds [@linear] families [@proj] events []
      words dense<[[[0, 0, 0, 5, ...], [-1, ...]]]> : tensor<1x2x32xi32>
    ```
  }];
}

def PrintListing : Pass<"mk-print-listing", "::mlir::ModuleOp"> {
  let summary = "print the table as a listing, one line an instruction";
  let description = [{
    For people: `mk explain` shows the same text. Reads the words, not the tasks, so it shows what runs.

    ```
    worker 0: 1 instruction
      0  linear  proj  units [0, 2)  stream 0
    ```
  }];
}

//===----------------------------------------------------------------------===//
// Schedule: who waits for whom, and the proof that it is enough
//===----------------------------------------------------------------------===//

def InferEvents : Pass<"mk-infer-events", "::mlir::ModuleOp"> {
  let summary = "make every task wait for each family of another worker that it depends on";
  let description = [{
    A task depends on an earlier one when both touch the same bytes and one of them writes: it reads what
    the other wrote, or writes over what the other read or wrote, in this step or the next. Memory that two
    buffers share counts, so the pass runs on the final memory plan. Tasks of one worker need nothing: they
    run in order.

    Each family that some task depends on gets one event, which all its tasks signal; whoever depends on
    any of them waits for all. One counter a family keeps the waits few: a consumer nearly always reads whole
    rows, hence needs every task of its producer anyway. A task also waits for the step before of its own
    event, so that signals of two steps never mix in one count. Nothing is left out because something else
    implies it; that is the work of `mk-elide-events`.

    What a task reads of flagged buffers it waits for by `hints`. A copy of these is used in every second step
    only, and nothing in its words tells the fourth step from the second: so all that use the buffer in a step
    come after all that used it in the step before.

    **Requires** a worker for every task and an offset for every buffer; the tasks of a family stand together.
    **Ensures** that every order of running the tasks that obeys the waits gives what the model's order gives.

    ```mlir
    mk_task.family @produce kind(@silu) [@x] -> [@u]
    mk_task.family @consume kind(@silu) [@u] -> [@v]
    mk_task.task @produce units(0, 2) worker(0) wait [] previous [] signal []
    mk_task.task @consume units(0, 2) worker(1) wait [] previous [] signal []
    // becomes
    mk_task.event @produce.done arrivals(1)
    mk_task.event @consume.done arrivals(1)
    mk_task.task @produce units(0, 2) worker(0) wait [] previous [@consume.done] signal [@produce.done]
    mk_task.task @consume units(0, 2) worker(1) wait [@produce.done] previous [] signal [@consume.done]
    ```
  }];
}

def ElideEvents : Pass<"mk-elide-events", "::mlir::ModuleOp"> {
  let summary = "remove waits that other waits and program order imply";
  let description = [{
    A wait costs a poll of shared memory before the task may begin, an event a write that other workers
    must see. A wait is implied if everything it waits for is known to have ended from the worker's earlier
    tasks and from the task's other waits; what is left is the transitive reduction of the order. An event
    that nobody waits for is removed with its signals, and one that only hints wait for becomes a hint. What a
    hint implies orders no memory, so waits are only implied by waits, hints by both.

    Vector clocks over two steps decide this: for each task and worker, how many of that worker's tasks
    have ended before. That is linear in tasks times workers.

    **Requires** waits that can all be met. **Ensures** the same order between tasks with the fewest waits.

    ```mlir
    mk_task.event @a.done arrivals(1)
    mk_task.event @b.done arrivals(1)
    mk_task.task @a units(0, 2) worker(0) wait [] previous [] signal [@a.done]
    mk_task.task @b units(0, 2) worker(1) wait [@a.done] previous [] signal [@b.done]
    mk_task.task @c units(0, 2) worker(0) wait [@a.done, @b.done] previous [] signal []
    // becomes
    mk_task.task @a units(0, 2) worker(0) wait [] previous [] signal [@a.done]
    mk_task.task @b units(0, 2) worker(1) wait [@a.done] previous [] signal [@b.done]
    mk_task.task @c units(0, 2) worker(0) wait [@b.done] previous [] signal []
    ```
  }];
}

def VerifySchedule : Pass<"mk-verify-schedule", "::mlir::ModuleOp"> {
  let summary = "prove on the table's words that every run ends and gives what the model's order gives";
  let description = [{
    Reads the words that the workers will execute, not the ops that they were made from, and proves, or
    refuses with the two tasks and the bytes at fault:

    1. *Numbers.* Kinds, families, events and unit ranges exist; every unit of every family is run exactly
       once a step; operand words are the offsets of the declared buffers, which lie inside their arenas;
       weight tiles are those of the family's weight, inside the stream, in ascending order for a worker.
    2. *No wait for ever.* A wait counts exactly the signals of its event that one step has, and one step
       run alone comes to its end. Then so do all: a circle of waits would have to stay within one step,
       as no edge leads to an earlier one.
    3. *No mixed counts.* Every signal of an event in step s happens before every signal of it in step
       s + 1. By induction over time no wait is then met early by a signal of a later step.
    4. *No race.* Two tasks that touch the same bytes, one writing, are ordered by program order and events
       alone, in the model's order: the order of the `mk_task.family` ops within a step, and step by step.
       Within a family there is no order, so its tasks never conflict. Consecutive steps are enough: task
       a of step s before b of step s + 1 gives a before b of every later step, as a worker's program runs on.
       A flagged buffer has its own rules: one family writes it (or two the same value), no task of a step before may still use it
       by events alone; within a step what is read is written, by tasks that waits and hints put before.
    5. *No loss.* In the model's order no task finds its bytes written over as another object, no task uses
       one byte as two objects, and a unit that works in place reads only columns that no other unit writes.
    6. *Nothing passed over is needed.* Families under conditions wait and signal in every step, so 2 to 5 are as if all
       ran. Whichever sides of its `mk.choose` ops a step takes, a family that runs reads only what families that run have
       written (an `mk.choose`: on the side that it takes); two families write one buffer only if their conditions exclude
       each other; predicates are written once, before all who ask; what outlives a step has no condition. A flagged
       predicate is waited for, so its writer runs if the conditions in front of it hold; it is asked for before all waits.

    With 2 to 6, whatever a task reads is what it would read if the families ran one after the other.
    The cost is tasks times workers: vector clocks, and a sweep that keeps the last accesses of each object.

    **Requires** a `mk_task.table`. **Ensures** the above; the module is unchanged.

    ```mlir
    mk_task.family @produce kind(@silu) [@x] -> [@u]
    mk_task.family @consume kind(@silu) [@u] -> [@v]
    mk_task.event @consume.done arrivals(1)
    mk_task.task @produce units(0, 2) worker(0) wait [] previous [@consume.done] signal []
    mk_task.task @consume units(0, 2) worker(1) wait [] previous [] signal [@consume.done]
    // is refused, once it is a table
    error: task 'consume' units [0, 2) on worker 1 reads buffer 'u' columns [0, 64) in bytes [131072, 262144) that
      task 'produce' units [0, 2) on worker 0 writes: no event orders them
    ```
  }];
}

def PrintAccesses : Pass<"mk-print-accesses", "::mlir::ModuleOp"> {
  let summary = "print what every instruction of the table waits for, signals, reads and writes";
  let description = [{
    One line of JSON for each program: its memory objects, and each worker's instructions in order. The
    shuffled executor of `python/mk/schedule.py` runs it without relying on how `mk-verify-schedule` orders
    anything. The module is unchanged.

    ```json
    { "program": "step", "objects": [ { "name": "x", "space": 1, "begin": 0, "end": 1024, "columns": 64,
        "flagged": false, "forwarded": false } ],
      "workers": [ [ { "family": 0, "name": "produce", "units": [0, 2], "waits": [], "ends": false, "signal": 0,
        "accesses": [ { "object": 0, "write": true, "shares": false, "early": false, "columns": [[0, 64]] } ] } ] ] }
    ```
  }];
}

#endif // MK_PASSES_PLAN_TD
