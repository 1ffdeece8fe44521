// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that a layer norm before a product, and a norm alone, add up each row first: a sum for the mean, one for the
// deviation, each behind two barriers. The mean of squares of a norm alone is one sum.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<4x512xbf16>
  mk_task.weight @gain [@gain] layout(fragments) offset(0) : tensor<512xf32>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x512xf32>
  mk_task.buffer @y domain(tokens) offset(65536) : tensor<?x4xf32>
  mk_task.buffer @z domain(tokens) offset(66048) : tensor<?x512xf32>
  mk_task.kind @centered class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x512xf32>, %w: tensor<4x512xbf16>, %g: tensor<512xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x512xf32>, tensor<4x512xbf16>) -> tensor<?x4xf32> prologue {
    ^bb0(%r: tensor<?x512xf32>):
      %n = mk.layer_norm %r bias %g {eps = 1.0e-5 : f64} : (tensor<?x512xf32>, tensor<512xf32>) -> tensor<?x512xf32>
      mk.yield %n : tensor<?x512xf32>
    }
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.kind @alone class(columns) domain(tokens) units(128) segments [#mk_task.segment<base = 0, limit = 512, outer = 128, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x512xf32>):
    %y = mk.rms_norm %x {eps = 1.0e-5 : f64} : (tensor<?x512xf32>) -> tensor<?x512xf32>
    mk.yield %y : tensor<?x512xf32>
  }
  mk_task.family @a kind(@centered) [@x, @w, @gain] -> [@y]
  mk_task.family @b kind(@alone) [@x] -> [@z]
}
}
// CHECK-LABEL: func.func private @centered
// CHECK-COUNT-4: nvvm.barrier
// CHECK: mk_cta.mma
// CHECK-LABEL: func.func private @alone
// CHECK-COUNT-2: nvvm.barrier
// CHECK-NOT: nvvm.barrier
// CHECK: return
