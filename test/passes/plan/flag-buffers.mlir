// RUN: mk-opt %s --mk-flag-buffers | FileCheck %s

// Tests that rows which one family of products or columns writes and such families read say themselves that they are
// there, but not rows that a serial kind reads, that the host reads, that two families write, or that nobody reads.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  // CHECK: mk_task.buffer @tokens request domain(tokens)
  // CHECK: mk_task.buffer @x flagged domain(tokens) : tensor<?x32xf32>
  // CHECK: mk_task.buffer @twice domain(tokens)
  // CHECK: mk_task.buffer @best domain(tokens)
  // CHECK: mk_task.buffer @next domain(tokens)
  // CHECK: mk_task.buffer @logits domain(tokens)
  mk_task.buffer @tokens request domain(tokens) : tensor<?xi32>
  mk_task.buffer @x domain(tokens) : tensor<?x32xf32>
  mk_task.buffer @twice domain(tokens) : tensor<?x32xf32>
  mk_task.buffer @best domain(tokens) : tensor<?x32xf32>
  mk_task.buffer @next domain(tokens) : tensor<?xi32>
  mk_task.buffer @logits domain(tokens) : tensor<?x32xf32>
  mk_task.weight @table [@table] layout(rows) : tensor<9x32xf32>
  mk_task.kind @embed class(columns) domain(tokens) {
  ^bb0(%t: tensor<9x32xf32>, %i: tensor<?xi32>):
    %x = mk.embedding %t, %i : (tensor<9x32xf32>, tensor<?xi32>) -> tensor<?x32xf32>
    mk.yield %x : tensor<?x32xf32>
  }
  mk_task.kind @silu class(columns) domain(tokens) {
  ^bb0(%x: tensor<?x32xf32>):
    %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.kind @reduce class(serial) domain(tokens) {
  ^bb0(%x: tensor<?x32xf32>):
    %t = mk.argmax_reduce %x : (tensor<?x32xf32>) -> tensor<?xi32>
    mk.yield %t : tensor<?xi32>
  }
  mk_task.family @a kind(@embed) [@table, @tokens] -> [@x]
  mk_task.family @b kind(@silu) [@x] -> [@twice]
  mk_task.family @c kind(@silu) [@x] -> [@twice]
  mk_task.family @d kind(@silu) [@twice] -> [@best]
  mk_task.family @e kind(@reduce) [@best] -> [@next]
  mk_task.family @f kind(@silu) [@x] -> [@logits]
}
}
