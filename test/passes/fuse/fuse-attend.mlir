// RUN: mk-opt %s --mk-fuse-attend | FileCheck %s

// Tests that norms and rotations of heads become the prologue of attention, and the keys are stored behind it: not a
// rotation alone, nor if somebody else reads the normalised query.

!x = tensor<?x128xf32>
!k = tensor<?x64xf32>
!i = tensor<?xi32>
!c = !mk.cache<1x64xbf16>
!p = tensor<?x264xf32>
// CHECK-LABEL: func.func @step
func.func @step(%q: !x, %k: !k, %v: !k, %positions: !i, %slots: !i, %g: tensor<64xf32>, %f: tensor<32xf32>) -> (!p, !p, !p, !x) {
  // CHECK: %[[C:.*]] = mk.kv_cache {layer = 0
  %c = mk.kv_cache {layer = 0 : i64} : !c
  %n = mk.head_norm %q, %g {head_dim = 64 : i64, eps = 1.0e-6 : f64} : (!x, tensor<64xf32>) -> !x
  %r = mk.rope %n, %positions, %f {head_dim = 64 : i64} : (!x, !i, tensor<32xf32>) -> !x
  %m = mk.head_norm %k, %g {head_dim = 64 : i64, eps = 1.0e-6 : f64} : (!k, tensor<64xf32>) -> !k
  %d = mk.kv_append %c, %m, %v, %positions, %slots : (!c, !k, !k, !i, !i) -> !c
  // CHECK-NEXT: mk.attend %{{.*}}, %[[C]], %{{.*}}, %{{.*}}, %[[K:[a-z0-9]+]], %[[V:[a-z0-9]+]] {{.*}} prologue {
  // CHECK-NEXT: ^bb0(%[[A:.*]]: tensor<?x128xf32>, %[[B:.*]]: tensor<?x64xf32>, %[[E:.*]]: tensor<?x64xf32>):
  // CHECK-NEXT: %[[N:.*]] = mk.head_norm %[[A]]
  // CHECK-NEXT: %[[R:.*]] = mk.rope %[[N]], {{.*}} -> tensor<?x128xf32>
  // CHECK-NEXT: %[[M:.*]] = mk.head_norm %[[B]], {{.*}} -> tensor<?x64xbf16>
  // CHECK-NEXT: %[[S:.*]] = mk.slice %[[E]] {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // CHECK-NEXT: mk.yield %[[R]], %[[M]], %[[S]]
  // CHECK: %[[L:.*]] = mk.head_norm %[[K]]
  // CHECK-NEXT: mk.kv_append %[[C]], %[[L]], %[[V]]
  %p = mk.attend %r, %d, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (!x, !c, !i, !i) -> !p
  %c1 = mk.kv_cache {layer = 1 : i64} : !c
  %t = mk.rope %k, %positions, %f {head_dim = 64 : i64} : (!k, !i, tensor<32xf32>) -> !k
  %e = mk.kv_append %c1, %t, %v, %positions, %slots : (!c, !k, !k, !i, !i) -> !c
  // CHECK: mk.attend %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {
  %o = mk.attend %q, %e, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (!x, !c, !i, !i) -> !p
  %u = mk.head_norm %q, %g {head_dim = 64 : i64, eps = 1.0e-6 : f64} : (!x, tensor<64xf32>) -> !x
  %c2 = mk.kv_cache {layer = 2 : i64} : !c
  %h = mk.kv_append %c2, %k, %v, %positions, %slots : (!c, !k, !k, !i, !i) -> !c
  // CHECK: mk.attend %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {
  %w = mk.attend %u, %h, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (!x, !c, !i, !i) -> !p
  return %p, %o, %w, %u : !p, !p, !p, !x
}
