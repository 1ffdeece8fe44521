// Tests that a flagged predicate is asked for only where somebody writes it: its own conditions come before. Where it is not
// flagged nobody waits for it, and the order does not matter.
// RUN: sed 's/FLAGGED/flagged/; s/COND/#mk_task.condition<buffer = @p, taken = true>, #mk_task.condition<buffer = @q, taken = false>/' %s | mk-opt --mk-plan-memory --mk-infer-events --mk-build-table --mk-verify-schedule -o /dev/null
// RUN: sed 's/FLAGGED//; s/COND/#mk_task.condition<buffer = @q, taken = false>, #mk_task.condition<buffer = @p, taken = true>/' %s | mk-opt --mk-plan-memory --mk-infer-events --mk-build-table --mk-verify-schedule -o /dev/null
// RUN: sed 's/FLAGGED/flagged/; s/COND/#mk_task.condition<buffer = @q, taken = false>, #mk_task.condition<buffer = @p, taken = true>/' %s | not mk-opt --mk-plan-memory --mk-infer-events --mk-build-table --mk-verify-schedule 2>&1 | FileCheck %s
// CHECK: family 'deep' reads @q, which family 'second' writes only under conditions that family 'deep' may run without
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x input domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @p flagged domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @q FLAGGED domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x1xf32>
  mk_task.kind @ask class(serial) domain(tokens) units(1) {
  ^bb0(%c: tensor<?x1xf32>):
    %p = mk.across_rows %c {how = "min"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
    mk.yield %p : tensor<?x1xf32>
  }
  mk_task.kind @finish class(serial) domain(tokens) units(1) {
  ^bb0(%p: tensor<?x1xf32>):
    mk.finish %p : tensor<?x1xf32>
    mk.yield
  }
  mk_task.family @first kind(@ask) [@x] -> [@p]
  mk_task.family @second kind(@ask) [@x] -> [@q] if [#mk_task.condition<buffer = @p, taken = true>]
  mk_task.family @deep kind(@ask) [@x] -> [@y] if [COND]
  mk_task.family @end kind(@finish) [@p] -> []
  mk_task.task @first units(0, 1) worker(0) wait [] previous [] signal []
  mk_task.task @second units(0, 1) worker(0) wait [] previous [] signal []
  mk_task.task @deep units(0, 1) worker(1) wait [] previous [] signal []
  mk_task.task @end units(0, 1) worker(0) wait [] previous [] signal []
}
}
