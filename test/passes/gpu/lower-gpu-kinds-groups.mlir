// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that a product of up to 16 tokens has two bodies: one multiplies a tile with two groups of eight tokens, the other,
// for steps of at most eight, with one. A product on rows of logits does nothing when there are none.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<4x512xbf16>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x512xf32>
  mk_task.buffer @y domain(tokens) offset(65536) : tensor<?x4xf32>
  mk_task.buffer @r domain(rows) order(fragments) offset(131072) : tensor<?x512xf32>
  mk_task.buffer @logits domain(rows) offset(196608) : tensor<?x4xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x512xf32>, %w: tensor<4x512xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x512xf32>, tensor<4x512xbf16>) -> tensor<?x4xf32>
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.kind @head class(tiles) domain(rows) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x512xf32>, %w: tensor<4x512xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x512xf32>, tensor<4x512xbf16>) -> tensor<?x4xf32>
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
  mk_task.family @b kind(@head) [@r, @w] -> [@logits]
}
}
// CHECK-LABEL: func.func private @linear(
// CHECK-NOT: memref<2x8x8x8x2xvector<2xf32>, 3>
// CHECK: memref<2x4x8x16x2xvector<2xf32>, 3>
// CHECK-LABEL: func.func private @linear.8(
// CHECK-NOT: memref<2x4x8x16x2xvector<2xf32>, 3>
// CHECK: memref<2x8x8x8x2xvector<2xf32>, 3>
// CHECK-LABEL: func.func private @head(
// CHECK-SAME: %[[M:[a-z0-9]+]]: index, %[[SLOT:[a-z0-9]+]]: i32, %[[P:[a-z0-9]+]]: i32, %[[U:[a-z0-9]+]]: i32)
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[M]]
// CHECK: %[[NONE:.*]] = arith.cmpi eq, %[[COUNT]], %c0_i32
// CHECK: scf.if %[[NONE]]
// CHECK-NEXT: scf.yield %[[SLOT]], %[[P]], %[[U]]
