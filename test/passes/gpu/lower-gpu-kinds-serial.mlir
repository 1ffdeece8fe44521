// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests the end of a step: the largest of the partial maxima by all threads, the lowest column on a tie; then one thread
// sets up the next step and publishes it, and posts the tokens to the host after that, for which nobody waits.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @partials domain(rows) offset(0) : tensor<?x80xf32>
  mk_task.buffer @next domain(rows) offset(4096) : tensor<?xi32>
  mk_task.kind @argmax class(serial) domain(rows) units(1) {
  ^bb0(%x: tensor<?x80xf32>):
    %y = mk.argmax_reduce %x : (tensor<?x80xf32>) -> tensor<?xi32>
    mk.yield %y : tensor<?xi32>
  }
  mk_task.kind @advance class(serial) domain(rows) units(1) {
  ^bb0(%t: tensor<?xi32>):
    mk.advance %t : tensor<?xi32>
    mk.yield
  }
  mk_task.family @a kind(@argmax) [@partials] -> [@next]
  mk_task.family @b kind(@advance) [@next] -> []
}
}
// CHECK-LABEL: func.func private @argmax
// CHECK: scf.for %{{.*}} = %{{.*}} to %c20_i32 step %c2048_i32
// CHECK: nvvm.shfl.sync {{.*}}bfly
// CHECK: arith.cmpi slt
// CHECK: memref.store %{{.*}} : memref<?xi32
// CHECK-LABEL: func.func private @advance
// CHECK: arith.cmpi eq
// CHECK: scf.if
// CHECK: mk_cta.publish_step
// CHECK: mk_cta.post
// CHECK: return
