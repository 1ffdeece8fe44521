// RUN: mk-opt %s --mk-flag-buffers | FileCheck %s

// Tests that a predicate says itself that it is there, also where nothing but conditions looks at it, and so do the rows that
// it is made of; but not what both sides of a choice write.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  // CHECK: mk_task.buffer @c flagged
  // CHECK: mk_task.buffer @p flagged
  // CHECK: mk_task.buffer @both domain(tokens)
  mk_task.buffer @x domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @c domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @p domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @both domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @logits domain(tokens) : tensor<?x1xf32>
  mk_task.kind @ask class(serial) domain(tokens) {
  ^bb0(%c: tensor<?x1xf32>):
    %p = mk.across_rows %c {how = "min"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
    mk.yield %p : tensor<?x1xf32>
  }
  mk_task.kind @silu class(columns) domain(tokens) {
  ^bb0(%x: tensor<?x1xf32>):
    %y = mk.silu %x : (tensor<?x1xf32>) -> tensor<?x1xf32>
    mk.yield %y : tensor<?x1xf32>
  }
  mk_task.family @a kind(@silu) [@x] -> [@c]
  mk_task.family @b kind(@ask) [@c] -> [@p]
  mk_task.family @d kind(@silu) [@x] -> [@both] if [#mk_task.condition<buffer = @p, taken = true>]
  mk_task.family @e kind(@silu) [@c] -> [@both] if [#mk_task.condition<buffer = @p, taken = false>]
  mk_task.family @f kind(@silu) [@both] -> [@logits]
}
}
