// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that a norm before a product costs no pass over the rows: the gain scales the fragments, the sums of squares go
// along, and a finished sum is divided by the root of their mean. And that without a norm nothing of that is there.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<4x512xbf16>
  mk_task.weight @gain [@gain] layout(fragments) offset(0) : tensor<512xf32>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x512xf32>
  mk_task.buffer @y domain(tokens) offset(65536) : tensor<?x4xf32>
  mk_task.kind @normed class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x512xf32>, %w: tensor<4x512xbf16>, %g: tensor<512xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x512xf32>, tensor<4x512xbf16>) -> tensor<?x4xf32> prologue {
    ^bb0(%r: tensor<?x512xf32>):
      %n = mk.rms_norm %r, %g {eps = 1.0e-5 : f64} : (tensor<?x512xf32>, tensor<512xf32>) -> tensor<?x512xf32>
      mk.yield %n : tensor<?x512xf32>
    }
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.kind @plain class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x512xf32>, %w: tensor<4x512xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x512xf32>, tensor<4x512xbf16>) -> tensor<?x4xf32>
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.family @a kind(@normed) [@x, @w, @gain] -> [@y]
  mk_task.family @b kind(@plain) [@x, @w] -> [@y]
}
}
// CHECK-LABEL: func.func private @normed
// CHECK: mk_cta.view %{{.*}}, "params", %{{.*}} : memref<?xvector<4xi32>, strided<[1]>, 1>
// CHECK: math.fma
// CHECK: mk_cta.mma
// CHECK: nvvm.barrier
// CHECK: rsqrt.approx
// CHECK-LABEL: func.func private @plain
// CHECK-NOT: {{math.fma|rsqrt|"params"}}
// CHECK: return
