// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests attention on a range of positions. The query and the token's own key and value are asked for behind the wait; a
// block of the cache is there already, one slot for keys and values of a head of 32. The token's own row is written
// over its place in the slot, and so are those of other tokens of the step that the warp finds, each behind a fence.
// What lies behind the last position becomes zeros. The slot goes back when all that follows from it is known. The four
// warps of a team meet in shared memory.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.buffer @slots request domain(tokens) offset(576) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<2x32xbf16>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x128xf32>
  mk_task.buffer @k domain(tokens) offset(4096) : tensor<?x64xbf16>
  mk_task.buffer @v domain(tokens) offset(8192) : tensor<?x64xbf16>
  mk_task.buffer @y domain(tokens) order(ranges) offset(12288) : tensor<?x272xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(2) {
  ^bb0(%q: tensor<?x128xf32>, %c: !mk.cache<2x32xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>, %k: tensor<?x64xbf16>, %v: tensor<?x64xbf16>):
    %y = mk.attend %q, %c, %p, %s, %k, %v {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x128xf32>, !mk.cache<2x32xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x272xf32>
    mk.yield %y : tensor<?x272xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots, @k, @v] -> [@y]
}
}
// CHECK-LABEL: func.func private @attend
// CHECK-NOT: mk_cta.view %{{.*}}, "kv"
// CHECK: mk_cta.poll
// CHECK: mk_cta.ring_await full %[[FULL:.*]][%[[SLOT:.*]]],
// CHECK: memref.store %{{.*}}, %{{.*}} : memref<{{.*}}x1024xvector<4xi32>, 3>
// CHECK: mk_cta.proxy_fence shared
// CHECK: nvvm.vote.ballot.sync
// CHECK: math.cttz
// CHECK: mk_cta.proxy_fence shared
// CHECK: memref.store %cst{{.*}}, %{{.*}} : memref<{{.*}}x1024xvector<4xi32>, 3>
// CHECK: mk_cta.proxy_fence shared
// CHECK: mk_cta.fragment %{{.*}}[%[[SLOT]]]
// CHECK-COUNT-8: mk_cta.mma
// CHECK: mk_cta.transposed %{{.*}}[%[[SLOT]]]
// CHECK-COUNT-8: mk_cta.mma
// CHECK: mk_cta.ring_release %{{.*}}[%[[SLOT]]] after
// CHECK: nvvm.barrier id = %{{.*}} number_of_threads = %c128_i32
// The sums of 4 heads and 2 ranges are 256 words, so the first pair is number 128.
// CHECK: arith.addi %{{.*}}, %c128
// CHECK: memref.store %{{.*}} : memref<?x272xi32, strided<[272, 1]>, 1>
