// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that a row of more than 2048 columns comes in chunks, the next one loaded before this one is multiplied: here two
// of 22 blocks of 64 columns. Of the blocks w, w + 8, w + 16 of warp w the last is there for six warps only.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<4x2816xbf16>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x2816xf32>
  mk_task.buffer @y domain(tokens) offset(131072) : tensor<?x4xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x2816xf32>, %w: tensor<4x2816xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x2816xf32>, tensor<4x2816xbf16>) -> tensor<?x4xf32>
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
}
}
// CHECK-LABEL: func.func private @linear
// CHECK: scf.for
// CHECK: scf.for %[[CHUNK:.*]] = %c0_i32 to %c2_i32 step %c1_i32
// CHECK: %[[NEXT:.*]] = arith.addi %[[CHUNK]], %c1_i32
// CHECK: %[[LOADED:.*]] = arith.minsi %[[NEXT]], %c1_i32
// CHECK: arith.muli %[[LOADED]], %c22_i32
// CHECK: scf.for
// CHECK: mk_cta.ring_await
// CHECK-COUNT-2: mk_cta.fragment
// CHECK: scf.if
// CHECK: mk_cta.fragment
// CHECK: mk_cta.ring_release
// CHECK-COUNT-6: mk_cta.mma
// CHECK-NOT: mk_cta.mma
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[CHUNK]], %c0_i32
// CHECK: %[[BEFORE:.*]] = memref.load %[[SUMS:.*]][%[[AT:.*]]] : memref<2x4x8x8x2xvector<2xf32>, 3>
// CHECK: %[[FROM:.*]] = arith.select %[[FIRST]], %{{.*}}, %[[BEFORE]]
// CHECK: arith.addf %[[FROM]]
