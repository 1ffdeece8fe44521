// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests attention on a range of positions: the items of a share in turn, the keys and values of the next under way, four
// threads a position of a head of 32. Sums over the positions meet first in a warp by shuffles, then over the warps in shared
// memory, and are stored in the order of fragments, each pair of largest score and weight behind all sums. Without rows of
// the step itself the task does not wait for anything in here, and a product's ring is not touched.

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
// CHECK: mk_cta.view %{{.*}}, "kv", %{{.*}} : memref<32x4xvector<4xi32>, strided<[4, 1]>, 1>
// CHECK-NOT: mk_cta.poll
// CHECK: scf.for
// CHECK: mk_cta.view %{{.*}}, "kv"
// CHECK: nvvm.shfl.sync {{.*}}bfly
// CHECK: llvm.call_intrinsic "llvm.nvvm.ex2.approx.f"
// CHECK: memref.store %{{.*}} : memref<8x2x36xf32, 3>
// CHECK: nvvm.barrier
// The sums of 4 heads and 2 ranges are 256 words, so the first pair is number 128.
// CHECK: arith.addi %{{.*}}, %c128
// CHECK: memref.store %{{.*}} : memref<?x272xi32, strided<[272, 1]>, 1>
// CHECK: return %[[SLOT]], %[[P]], %[[U]]
