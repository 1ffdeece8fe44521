// RUN: mk-opt %s --mk-order-columns | FileCheck %s

// Tests that a norm without a gain has nothing to fold: its rows are ordered, and the weights keep no scale.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>} {
mk_task.program @step {
  // CHECK: mk_task.weight @w [@w] layout(tiles) : tensor<32x64xbf16>
  mk_task.weight @w [@w] layout(tiles) : tensor<32x64xbf16>
  // CHECK: @x domain(tokens) order(fragments)
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x32xf32>
  mk_task.kind @normed class(tiles) domain(tokens) {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<32x64xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32> prologue {
    ^bb0(%r: tensor<?x64xf32>):
      %n = mk.rms_norm %r {eps = 1.0e-5 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %n : tensor<?x64xf32>
    }
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @b kind(@normed) [@x, @w] -> [@y]
}
}
