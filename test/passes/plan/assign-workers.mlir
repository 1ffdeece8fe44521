// RUN: mk-opt %s --mk-assign-workers=dump=1 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=LOAD <%t

// Tests that an uneven cut of one family (3 units) is made up for by the next, and that a family too small to be worth
// an event (the silu) is not cut: it goes whole to the worker that has read less.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 60>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) : tensor<?x96xf32>
    mk_task.buffer @y domain(tokens) : tensor<?x96xf32>
    mk_task.buffer @z domain(tokens) : tensor<?x96xf32>
    mk_task.buffer @u domain(tokens) : tensor<?x96xf32>
    mk_task.weight @w [@w] layout(tiles) : tensor<96x96xf32>
    mk_task.weight @v [@v] layout(tiles) : tensor<96x96xf32>
    mk_task.kind @linear class(tiles) domain(tokens) units(3) {
    ^bb0(%x: tensor<?x96xf32>, %w: tensor<96x96xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x96xf32>, tensor<96x96xf32>) -> tensor<?x96xf32>
      mk.yield %y : tensor<?x96xf32>
    }
    mk_task.kind @silu class(columns) domain(tokens) units(3) {
    ^bb0(%x: tensor<?x96xf32>):
      %y = mk.silu %x : (tensor<?x96xf32>) -> tensor<?x96xf32>
      mk.yield %y : tensor<?x96xf32>
    }
    mk_task.family @a kind(@linear) [@x, @w] -> [@y]
    mk_task.family @act kind(@silu) [@y] -> [@z]
    mk_task.family @b kind(@linear) [@z, @v] -> [@u]
    // CHECK: mk_task.task @a units(0, [[CUT:2]]) worker(0) wait [] previous [] signal []
    // CHECK-NEXT: mk_task.task @a units([[CUT]], 3) worker(1)
    // CHECK-NEXT: mk_task.task @act units(0, 3) worker(1)
    // CHECK-NEXT: mk_task.task @b units(0, [[OTHER:1]]) worker(0)
    // CHECK-NEXT: mk_task.task @b units([[OTHER]], 3) worker(1)
    // CHECK-NOT: mk_task.task
    // LOAD: worker 0: [[BYTES:[0-9]+]] bytes
    // LOAD: worker 1: [[BYTES]] bytes
  }
}
