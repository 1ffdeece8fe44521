// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that a function's tasks find rows in the records of a call by their tokens, but rows of the step by their
// place; and that its end takes the next entry of the agenda, if a step is left and nobody cancels, then publishes it.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x input domain(tokens) record(192) offset(64) : tensor<?x24xf32>
  mk_task.buffer @own domain(tokens) offset(0) : tensor<?x24xf32>
  mk_task.buffer @result0 domain(tokens) record(128) offset(0) : tensor<?x24xf32>
  mk_task.kind @add class(columns) domain(tokens) units(6) segments [#mk_task.segment<base = 0, limit = 24, outer = 6, stride = 4, half = 2, partner = 2>] {
  ^bb0(%a: tensor<?x24xf32>, %b: tensor<?x24xf32>):
    %c = mk.add %a, %b : (tensor<?x24xf32>, tensor<?x24xf32>) -> tensor<?x24xf32>
    mk.yield %c : tensor<?x24xf32>
  }
  mk_task.kind @finish class(serial) domain(tokens) units(1) {
  ^bb0(%r: tensor<?x24xf32>):
    mk.finish %r : tensor<?x24xf32>
    mk.yield
  }
  mk_task.family @a kind(@add) [@x, @own] -> [@result0]
  mk_task.family @b kind(@finish) [@result0] -> []
}
}
// CHECK-LABEL: func.func private @add
// CHECK: %[[TOKEN:.*]] = memref.load %{{.*}} : memref<4x16xi32, 3>
// CHECK: mk_cta.view %{{.*}} "inputs"
// CHECK: mk_cta.view %{{.*}} "activations"
// CHECK: mk_cta.view %{{.*}} "results"
// CHECK-LABEL: func.func private @finish
// CHECK: arith.cmpi sgt
// CHECK: mk_cta.view %{{.*}} "agenda"
// CHECK: mk_cta.publish_step
// CHECK-NOT: mk_cta.post
