// RUN: mk-opt %s --mk-order-columns | FileCheck %s

// Tests that rows which are multiplied and the gain of their norm lie as the tensor cores read them, and results of
// attention by ranges; but not rows that are only read by columns, or the request.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>} {
mk_task.program @step {
  // CHECK: mk_task.buffer @tokens request domain(tokens) : tensor<?xi32>
  mk_task.buffer @tokens request domain(tokens) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<1x32xbf16>
  // CHECK: @gain [@gain] layout(fragments)
  mk_task.weight @gain [@gain] layout(rows) : tensor<64xf32>
  mk_task.weight @w [@w] layout(tiles) : tensor<32x64xbf16>
  // CHECK: @x domain(tokens) order(fragments)
  mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
  // CHECK: @y domain(tokens) : tensor
  mk_task.buffer @y domain(tokens) : tensor<?x32xf32>
  // CHECK: @z domain(tokens) order(ranges)
  mk_task.buffer @z domain(tokens) : tensor<?x34xf32>
  mk_task.kind @normed class(tiles) domain(tokens) {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<32x64xbf16>, %g: tensor<64xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32> prologue {
    ^bb0(%r: tensor<?x64xf32>):
      %n = mk.rms_norm %r, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
      mk.yield %n : tensor<?x64xf32>
    }
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.kind @attend class(attend) domain(tokens) {
  ^bb0(%q: tensor<?x32xf32>, %c: !mk.cache<1x32xbf16>, %p: tensor<?xi32>):
    %y = mk.attend %q, %c, %p, %p {scale = 0.25 : f64, split = 32 : i64, splits = 1 : i64}
      : (tensor<?x32xf32>, !mk.cache<1x32xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x34xf32>
    mk.yield %y : tensor<?x34xf32>
  }
  mk_task.family @b kind(@normed) [@x, @w, @gain] -> [@y]
  mk_task.family @c kind(@attend) [@y, @kv, @tokens] -> [@z]
}
}
