// RUN: mk-opt %s --mk-order-columns --split-input-file --verify-diagnostics | FileCheck %s

// Tests that rows which are no whole number of fragments are refused on a GPU, and that a CPU keeps the natural order.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>} {
mk_task.program @step {
  // expected-error@+1 {{"x" is multiplied on a gpu: expected a multiple of 32 columns, found 80}}
  mk_task.buffer @x domain(tokens) : tensor<?x80xf32>
  mk_task.weight @w [@w] layout(tiles) : tensor<32x80xbf16>
  mk_task.buffer @y domain(tokens) : tensor<?x32xf32>
  mk_task.kind @linear class(tiles) domain(tokens) {
  ^bb0(%x: tensor<?x80xf32>, %w: tensor<32x80xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x80xf32>, tensor<32x80xbf16>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
}
}

// -----
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>} {
mk_task.program @step {
  // CHECK: @x domain(tokens) : tensor<?x80xf32>
  mk_task.buffer @x domain(tokens) : tensor<?x80xf32>
  mk_task.weight @w [@w] layout(tiles) : tensor<32x80xbf16>
  mk_task.buffer @y domain(tokens) : tensor<?x32xf32>
  mk_task.kind @linear class(tiles) domain(tokens) {
  ^bb0(%x: tensor<?x80xf32>, %w: tensor<32x80xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x80xf32>, tensor<32x80xbf16>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
}
}
