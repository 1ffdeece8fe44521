// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that a row which does not fit the registers comes in chunks, the next one loaded before this one is multiplied, and
// behind the last one the first again: here three of 23 blocks of 64 columns. Of the blocks w, w + 8, w + 16 of warp w the
// last is there for seven warps only. Sums stay in registers from chunk to chunk.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<4x4288xbf16>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x4288xf32>
  mk_task.buffer @y domain(tokens) offset(262144) : tensor<?x4xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x4288xf32>, %w: tensor<4x4288xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x4288xf32>, tensor<4x4288xbf16>) -> tensor<?x4xf32>
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
}
}
// CHECK-LABEL: func.func private @linear
// CHECK: scf.for
// CHECK: %[[END:.*]]:{{[0-9]+}} = scf.for %[[CHUNK:.*]] = %c0_i32 to %c3_i32 step %c1_i32
// CHECK: %[[NEXT:.*]] = arith.addi %[[CHUNK]], %c1_i32
// CHECK: %[[BEFORE:.*]] = arith.cmpi slt, %[[CHUNK]], %c2_i32
// CHECK: arith.select %[[BEFORE]], %{{.*}}, %c0
// CHECK: arith.muli %{{.*}}, %c23_i32
// CHECK-COUNT-2: mk_cta.ring_await
// CHECK-COUNT-2: mk_cta.fragment
// CHECK: scf.if
// CHECK: mk_cta.fragment
// CHECK-COUNT-2: mk_cta.ring_release
// CHECK-COUNT-12: mk_cta.mma
// CHECK-NOT: memref.store %{{.*}}2xvector<2xf32>
// CHECK: memref.store %{{.*}} : memref<2x4x8x8x2xvector<2xf32>, 3>
