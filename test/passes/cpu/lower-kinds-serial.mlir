// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that the end of a step writes the next request, posts what it drew and only then ends the step; and that nothing
// else does.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @partials domain(rows) offset(0) : tensor<?x4xf32>
  mk_task.buffer @next domain(rows) offset(4096) : tensor<?xi32>
  mk_task.kind @reduce class(serial) domain(rows) units(1) {
  ^bb0(%p: tensor<?x4xf32>):
    %y = mk.argmax_reduce %p : (tensor<?x4xf32>) -> tensor<?xi32>
    mk.yield %y : tensor<?xi32>
  }
  mk_task.kind @advance class(serial) domain(rows) units(1) {
  ^bb0(%n: tensor<?xi32>):
    mk.advance %n : tensor<?xi32>
    mk.yield
  }
  mk_task.family @a kind(@reduce) [@partials] -> [@next]
  mk_task.family @b kind(@advance) [@next] -> []
}
}
// CHECK-LABEL: func.func private @reduce
// CHECK: arith.cmpf ogt
// CHECK-NOT: mk_cta.publish_step
// CHECK-LABEL: func.func private @advance
// CHECK: %[[COUNT:.*]] = mk_cta.view %{{.*}}, "request", %{{.*}} : memref<1xi64
// CHECK: scf.for
// CHECK: memref.store
// CHECK: mk_cta.post %[[COUNT]][
// CHECK-NEXT: mk_cta.publish_step
// CHECK-NEXT: return
