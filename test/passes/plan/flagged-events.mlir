// RUN: mk-opt %s --mk-plan-memory --mk-infer-events --mk-elide-events | FileCheck %s

// Tests that who reads a flagged buffer waits by a hint, and that hints order no memory: @end waits for what @a's worker
// does last, which nothing else tells it. No task waits for the step before, which every worker does after @end.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 64, page = 16, split = 32>} {
// CHECK: activations = 4096 : i64, flagged = 1024 : i64
mk_task.program @step {
  // CHECK: mk_task.buffer @x flagged domain(tokens) offset(2048)
  mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>
  mk_task.buffer @x flagged domain(tokens) : tensor<?x32xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x32xf32>
  mk_task.buffer @z domain(tokens) : tensor<?x32xf32>
  mk_task.weight @table [@table] layout(rows) offset(0) : tensor<9x32xf32>
  mk_task.kind @embed class(columns) domain(tokens) units(8)
      segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%t: tensor<9x32xf32>, %i: tensor<?xi32>):
    %x = mk.embedding %t, %i : (tensor<9x32xf32>, tensor<?xi32>) -> tensor<?x32xf32>
    mk.yield %x : tensor<?x32xf32>
  }
  mk_task.kind @silu class(serial) domain(tokens) units(1) {
  ^bb0(%x: tensor<?x32xf32>):
    %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.kind @advance class(serial) domain(tokens) units(1) {
  ^bb0(%t: tensor<?xi32>):
    mk.advance %t : tensor<?xi32>
    mk.yield
  }
  mk_task.family @a kind(@embed) [@table, @tokens] -> [@x]
  mk_task.family @b kind(@silu) [@x] -> [@y]
  mk_task.family @c kind(@embed) [@table, @tokens] -> [@z]
  mk_task.family @end kind(@advance) [@tokens] -> []
  // CHECK: mk_task.event @a.done hint arrivals(1)
  // CHECK: mk_task.event @c.done arrivals(1)
  // CHECK: mk_task.task @a {{.*}} wait [] previous [] signal [@a.done]
  // CHECK: mk_task.task @b {{.*}} wait [] previous [] hint [@a.done] signal []
  // CHECK: mk_task.task @c {{.*}} wait [] previous [] signal [@c.done]
  // CHECK: mk_task.task @end {{.*}} wait [@c.done] previous [] signal []
  mk_task.task @a units(0, 8) worker(0) wait [] previous [] signal []
  mk_task.task @b units(0, 1) worker(1) wait [] previous [] signal []
  mk_task.task @c units(0, 8) worker(0) wait [] previous [] signal []
  mk_task.task @end units(0, 1) worker(1) wait [] previous [] signal []
}
}
