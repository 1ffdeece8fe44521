// RUN: mk-opt %s --mk-build-kernel --canonicalize --cse | FileCheck %s

// Tests that the loader brings the cache's blocks to the ring: when the consumers have told of the step, behind a fence of
// the proxies, each block in a slot for the keys of 64 positions of a head of 128 and one for their values. Pages have 16
// positions here, so four lanes copy 4096 bytes each, and one announces all that there are. The page of the next block is
// looked up before. At its end a step is told to the consumers, who wait for that before the next.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 64>} {
  func.func private @attend(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  mk_task.program @step {
    mk_task.kind @attend class(attend) domain(tokens) units(2) {
    ^bb0(%q: tensor<?x128xf32>, %c: !mk.cache<1x128xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>):
      %y = mk.attend %q, %c, %p, %s, %k, %v {scale = 0.25 : f64, split = 64 : i64, splits = 1 : i64}
        : (tensor<?x128xf32>, !mk.cache<1x128xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x130xf32>
      mk.yield %y : tensor<?x130xf32>
    }
    mk_task.table counts [0, 0] kinds [@attend] families [] events [] words dense<-1> : tensor<2x1x32xi32>
  }
}
// CHECK: nvvm.setmaxregister increase
// CHECK: mk_cta.tell %{{.*}}, %[[STEP:.*]] :
// CHECK: mk_cta.await_told passed %{{.*}}, %[[STEP]] in
// CHECK: nvvm.setmaxregister decrease
// CHECK: mk_cta.await_told begun
// CHECK: mk_cta.proxy_fence global
// CHECK: scf.for
// CHECK: mk_cta.context_word %{{.*}}, "pool_pages"
// CHECK: mk_cta.ring_await empty %{{.*}}[%[[K:.*]]], %{{.*}} quit
// CHECK: mk_cta.ring_copy %{{.*}}[%[[K]]], %{{.*}}, %[[FULL:.*]], %{{.*}}, "kv", %{{.*}}, %c4096_i32
// CHECK: mk_cta.ring_announce %[[FULL]][%[[K]]]
// CHECK: mk_cta.ring_await empty %{{.*}}[%[[V:.*]]], %{{.*}} quit
// CHECK: mk_cta.ring_copy %{{.*}}[%[[V]]], %{{.*}}, %[[FULL]], %{{.*}}, "kv", %{{.*}}, %c4096_i32
// CHECK: mk_cta.ring_announce %[[FULL]][%[[V]]]
// CHECK: mk_cta.tell
