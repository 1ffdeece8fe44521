// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that the end of a function's step ends the run before it ends the step, and posts nothing.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x input domain(tokens) offset(0) : tensor<?x4xf32>
  mk_task.kind @finish class(serial) domain(tokens) units(1) {
  ^bb0(%x: tensor<?x4xf32>):
    mk.finish %x : tensor<?x4xf32>
    mk.yield
  }
  mk_task.family @a kind(@finish) [@x] -> []
}
}
// CHECK-LABEL: func.func private @finish
// CHECK: %[[ZERO:.*]] = arith.constant 0 : i32
// CHECK: %[[RUNNING:.*]] = mk_cta.view %{{.*}}, "request"
// CHECK-NOT: mk_cta.post
// CHECK: memref.store %[[ZERO]], %[[RUNNING]]
// CHECK-NEXT: mk_cta.publish_step
// CHECK-NEXT: return
