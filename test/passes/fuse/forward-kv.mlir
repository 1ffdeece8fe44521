// RUN: mk-opt %s --mk-forward-kv | FileCheck %s

// Tests that attention gets the rows which the step stores, rounded as in the cache, where the step stores any: not where
// the cache is as the step found it.

!x = tensor<?x64xf32>
!k = tensor<?x32xf32>
!i = tensor<?xi32>
!c = !mk.cache<2x16xbf16>
!p = tensor<?x144xf32>
// CHECK-LABEL: func.func @step
func.func @step(%x: !x, %w: tensor<128x64xbf16>, %positions: !i, %slots: !i, %f: tensor<8xf32>) -> (!p, !p) {
  %c = mk.kv_cache {layer = 0 : i64} : !c
  // CHECK: %[[Q:.*]]:4 = mk.linear {{.*}} -> (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>) epilogue {
  %q:2 = mk.linear %x, [%w] : (!x, tensor<128x64xbf16>) -> (!x, !c) epilogue {
  ^bb0(%acc: tensor<?x128xf32>):
    %a = mk.slice %acc {offset = 0 : i64} : (tensor<?x128xf32>) -> !x
    %b = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> !k
    // CHECK: mk.rope {{.*}} -> tensor<?x32xf32>
    %k = mk.rope %b, %positions, %f {head_dim = 16 : i64} : (!k, !i, tensor<8xf32>) -> !k
    %v = mk.slice %acc {offset = 96 : i64} : (tensor<?x128xf32>) -> !k
    // CHECK: %[[D:.*]] = mk.kv_append
    %d = mk.kv_append %c, %k, %v, %positions, %slots : (!c, !k, !k, !i, !i) -> !c
    // CHECK: %[[K:.*]] = mk.rope {{.*}} -> tensor<?x32xbf16>
    // CHECK: %[[V:.*]] = mk.slice %{{.*}} {offset = 96 : i64} {{.*}} -> tensor<?x32xbf16>
    // CHECK: mk.yield %{{.*}}, %[[D]], %[[K]], %[[V]]
    mk.yield %a, %d : !x, !c
  }
  // CHECK: mk.attend %[[Q]]#0, %[[Q]]#1, %{{.*}}, %{{.*}}, %[[Q]]#2, %[[Q]]#3 {
  %p = mk.attend %q#0, %q#1, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (!x, !c, !i, !i) -> !p
  // CHECK: mk.attend %[[Q]]#0, %{{[0-9]+}}, %{{[a-z0-9]+}}, %{{[a-z0-9]+}} {
  %r = mk.attend %q#0, %c, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (!x, !c, !i, !i) -> !p
  return %p, %r : !p, !p
}

// What a mk.rowwise stores becomes a result of it: keys rounded where they are rotated, values as they came.
// CHECK-LABEL: func.func @heads
func.func @heads(%q: !x, %k: !k, %v: !k, %positions: !i, %slots: !i, %g: tensor<16xf32>, %f: tensor<8xf32>) -> !p {
  %c = mk.kv_cache {layer = 0 : i64} : !c
  // CHECK: %[[C:.*]]:3 = mk.rowwise {{.*}} -> (!mk.cache<2x16xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>) {
  // CHECK-NEXT: ^bb0(%[[A:.*]]: tensor<?x32xf32>, %[[B:.*]]: tensor<?x32xf32>):
  %d = mk.rowwise %k, %v : (!k, !k) -> !c {
  ^bb0(%a: !k, %b: !k):
    // CHECK-NEXT: %[[N:.*]] = mk.head_norm %[[A]]
    %n = mk.head_norm %a, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!k, tensor<16xf32>) -> !k
    // CHECK-NEXT: mk.rope %[[N]], {{.*}} -> tensor<?x32xf32>
    %r = mk.rope %n, %positions, %f {head_dim = 16 : i64} : (!k, !i, tensor<8xf32>) -> !k
    // CHECK-NEXT: %[[D:.*]] = mk.kv_append
    %s = mk.kv_append %c, %r, %b, %positions, %slots : (!c, !k, !k, !i, !i) -> !c
    // CHECK-NEXT: %[[K:.*]] = mk.rope %[[N]], {{.*}} -> tensor<?x32xbf16>
    // CHECK-NEXT: %[[V:.*]] = mk.slice %[[B]] {offset = 0 : i64} : (tensor<?x32xf32>) -> tensor<?x32xbf16>
    // CHECK-NEXT: mk.yield %[[D]], %[[K]], %[[V]]
    mk.yield %s : !c
  }
  // CHECK: mk.attend %{{.*}}, %[[C]]#0, %{{.*}}, %{{.*}}, %[[C]]#1, %[[C]]#2 {
  %p = mk.attend %q, %d, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (!x, !c, !i, !i) -> !p
  return %p : !p
}
