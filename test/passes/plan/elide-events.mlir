// RUN: mk-opt %s --mk-elide-events | FileCheck %s

// Tests that only waits which nothing implies stay: @c runs behind @a on its worker, and @d behind @c; a step's @b comes
// after its @a, hence after all of worker 1's step before. Nothing else makes @b wait for @a, or @c for @b: they stay.
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30>} {
  // CHECK-LABEL: mk_task.program @step
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?xi32>
    mk_task.kind @k class(serial) domain(tokens) units(1) {
    ^bb0(%x: tensor<?xi32>):
      mk.advance %x : tensor<?xi32>
      mk.yield
    }
    mk_task.family @a kind(@k) [@x] -> []
    mk_task.family @b kind(@k) [@x] -> []
    mk_task.family @c kind(@k) [@x] -> []
    mk_task.family @d kind(@k) [@x] -> []
    // CHECK: mk_task.event @a.done arrivals(1)
    // CHECK-NEXT: mk_task.event @b.done arrivals(1)
    // CHECK-NOT: mk_task.event
    mk_task.event @a.done arrivals(1)
    mk_task.event @b.done arrivals(1)
    mk_task.event @c.done arrivals(1)
    mk_task.event @d.done arrivals(1)
    // CHECK: mk_task.task @a units(0, 1) worker(1) wait [] previous [] signal [@a.done]
    // CHECK-NEXT: mk_task.task @b units(0, 1) worker(0) wait [@a.done] previous [] signal [@b.done]
    // CHECK-NEXT: mk_task.task @c units(0, 1) worker(1) wait [@b.done] previous [] signal []
    // CHECK-NEXT: mk_task.task @d units(0, 1) worker(1) wait [] previous [] signal []
    mk_task.task @a units(0, 1) worker(1) wait [] previous [@b.done] signal [@a.done]
    mk_task.task @b units(0, 1) worker(0) wait [@a.done] previous [@d.done] signal [@b.done]
    mk_task.task @c units(0, 1) worker(1) wait [@a.done, @b.done] previous [] signal [@c.done]
    mk_task.task @d units(0, 1) worker(1) wait [@a.done, @c.done] previous [] signal [@d.done]
  }
}
