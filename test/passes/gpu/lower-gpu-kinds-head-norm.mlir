// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s

// Tests that a warp takes a head of a row: it looks at all columns together, and makes gains and angles before it looks
// again for what has not been written; then it joins the sum of squares by five shuffles and stores both halves. A head
// whose half has an odd number of columns would cut a word between two lanes that do not stand side by side.

#s = #mk_task.segment<base = 0, limit = 128, outer = 1, stride = 128, half = 64, partner = 64, whole = true>
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step attributes {flagged = 4096} {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.weight @g [@g] layout(rows) offset(0) : tensor<128xf32>
  mk_task.weight @f [@f] layout(rows) offset(512) : tensor<64xf32>
  mk_task.buffer @x flagged domain(tokens) offset(0) : tensor<?x128xf32>
  mk_task.buffer @y domain(tokens) offset(8192) : tensor<?x128xf32>
  mk_task.kind @heads class(columns) domain(tokens) units(1) segments [#s] {
  ^bb0(%x: tensor<?x128xf32>, %g: tensor<128xf32>, %p: tensor<?xi32>, %f: tensor<64xf32>):
    %y = mk.rowwise %x : (tensor<?x128xf32>) -> tensor<?x128xf32> {
    ^bb0(%a: tensor<?x128xf32>):
      %n = mk.head_norm %a, %g {head_dim = 128 : i64, eps = 1.0e-6 : f64} : (tensor<?x128xf32>, tensor<128xf32>) -> tensor<?x128xf32>
      %r = mk.rope %n, %p, %f {head_dim = 128 : i64} : (tensor<?x128xf32>, tensor<?xi32>, tensor<64xf32>) -> tensor<?x128xf32>
      mk.yield %r : tensor<?x128xf32>
    }
    mk.yield %y : tensor<?x128xf32>
  }
  mk_task.family @a kind(@heads) [@x, @g, @positions, @f] -> [@y]
}
}
// CHECK-LABEL: func.func private @heads
// CHECK: scf.for %{{.*}} step %c8
// CHECK: %[[X:.*]] = mk_cta.view %{{.*}}, "activations", %{{.*}} : memref<?x128xi32
// CHECK-COUNT-4: mk_cta.load_flagged %[[X]]
// CHECK-COUNT-7: memref.load
// CHECK-NOT: memref.load
// CHECK: scf.while
// CHECK: nvvm.vote.ballot.sync
// CHECK: math.fma
// CHECK-COUNT-5: nvvm.shfl.sync bfly
// CHECK-NOT: nvvm.shfl
// CHECK: rsqrt.approx
// CHECK-COUNT-4: memref.store
// CHECK-NOT: memref.store

// -----

#s = #mk_task.segment<base = 0, limit = 60, outer = 2, stride = 30, half = 15, partner = 15, whole = true>
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @g [@g] layout(rows) offset(0) : tensor<30xf32>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x60xf32>
  mk_task.buffer @y domain(tokens) offset(8192) : tensor<?x60xf32>
  mk_task.kind @odd class(columns) domain(tokens) units(2) segments [#s] {
  ^bb0(%x: tensor<?x60xf32>, %g: tensor<30xf32>):
    // expected-error@+1 {{expects heads of one size, a multiple of 4 columns, and nothing that is not a head (in kind 'odd' for a gpu)}}
    %y = mk.head_norm %x, %g {head_dim = 30 : i64, eps = 1.0e-6 : f64} : (tensor<?x60xf32>, tensor<30xf32>) -> tensor<?x60xf32>
    mk.yield %y : tensor<?x60xf32>
  }
  mk_task.family @a kind(@odd) [@x, @g] -> [@y]
}
}
