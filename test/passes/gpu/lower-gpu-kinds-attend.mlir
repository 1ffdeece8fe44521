// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests attention on a range of positions: the items of a share in turn, four threads a position of a head of 32, whose sums
// over the positions meet first in a warp by shuffles, then over the warps in shared memory, and are stored in the order of
// fragments with the pair of largest score and weight behind all sums. A product's ring is not touched.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.buffer @slots request domain(tokens) offset(576) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<2x32xbf16>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x128xf32>
  mk_task.buffer @y domain(tokens) order(ranges) offset(4096) : tensor<?x272xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(2) {
  ^bb0(%q: tensor<?x128xf32>, %c: !mk.cache<2x32xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>):
    %y = mk.attend %q, %c, %p, %s {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x128xf32>, !mk.cache<2x32xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x272xf32>
    mk.yield %y : tensor<?x272xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots] -> [@y]
}
}
// CHECK-LABEL: func.func private @attend
// CHECK-SAME: %[[SLOT:[a-z0-9]+]]: i32, %[[P:[a-z0-9]+]]: i32, %[[U:[a-z0-9]+]]: i32)
// CHECK-NOT: mk_cta.ring
// CHECK: %[[SHARE:.*]] = mk_cta.field %{{.*}}, "begin"[0]
// CHECK: scf.for {{.*}} = %{{.*}} to %{{.*}} step %c2
// CHECK: mk_cta.view %{{.*}}, "kv", %{{.*}} : memref<?x4xvector<4xi32>, strided<[4, 1]>, 1>
// CHECK: nvvm.shfl.sync {{.*}}bfly
// CHECK: llvm.call_intrinsic "llvm.nvvm.ex2.approx.f"
// CHECK: memref.store %{{.*}} : memref<8x2x36xf32, 3>
// CHECK: nvvm.barrier
// CHECK: memref.store %{{.*}} : memref<?x272xf32, strided<[272, 1]>, 1>
// The sums of 4 heads and 2 ranges are 256 words, so the first pair is number 128.
// CHECK: %[[PAIR:.*]] = arith.addi %{{.*}}, %c128
// CHECK: memref.store %{{.*}}, %{{.*}}[%{{.*}}, %[[PAIR]]] : memref<?x136xvector<2xf32>, strided<[136, 1]>, 1>
// CHECK: return %[[SLOT]], %[[P]], %[[U]]
