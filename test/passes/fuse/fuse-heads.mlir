// Tests that norms of heads take rotation and store with them, but not what has heads of another size or other rows, and
// that without a norm, or with nothing but a norm, nothing happens.
// RUN: mk-opt %s --mk-fuse-heads | FileCheck %s
!q = tensor<?x64xf32>
!k = tensor<?x32xf32>
!c = !mk.cache<2x16xf32>
!i = tensor<?xi32>
!g = tensor<16xf32>
!f = tensor<8xf32>

// CHECK-LABEL: @layer
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<128x64xf32>, %[[G:.*]]: tensor<16xf32>, %[[F:.*]]: tensor<8xf32>, %[[P:.*]]: tensor<?xi32>)
func.func @layer(%x: !q, %w: tensor<128x64xf32>, %g: !g, %f: !f, %p: !i) -> (!q, !c) {
  // CHECK: %[[QKV:.*]]:3 = mk.linear
  %q, %k, %v = mk.linear %x, [%w] : (!q, tensor<128x64xf32>) -> (!q, !k, !k) epilogue {
  ^bb0(%acc: tensor<?x128xf32>):
    %0 = mk.slice %acc {offset = 0 : i64} : (tensor<?x128xf32>) -> !q
    %1 = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> !k
    %2 = mk.slice %acc {offset = 96 : i64} : (tensor<?x128xf32>) -> !k
    mk.yield %0, %1, %2 : !q, !k, !k
  }
  // What else the ops need comes before the first of them.
  // CHECK: %[[C:.*]] = mk.kv_cache
  // CHECK-NEXT: %[[R:.*]]:2 = mk.rowwise %[[QKV]]#0, %[[QKV]]#1, %[[QKV]]#2 : {{.*}} -> (tensor<?x64xf32>, !mk.cache<2x16xf32>) {
  // CHECK-NEXT: ^bb0(%[[Q:.*]]: tensor<?x64xf32>, %[[K:.*]]: tensor<?x32xf32>, %[[V:.*]]: tensor<?x32xf32>):
  // CHECK-NEXT: %[[QN:.*]] = mk.head_norm %[[Q]], %[[G]]
  // CHECK-NEXT: %[[KN:.*]] = mk.head_norm %[[K]], %[[G]]
  // CHECK-NEXT: %[[QR:.*]] = mk.rope %[[QN]], %[[P]], %[[F]]
  // CHECK-NEXT: %[[KR:.*]] = mk.rope %[[KN]], %[[P]], %[[F]]
  // CHECK-NEXT: %[[A:.*]] = mk.kv_append %[[C]], %[[KR]], %[[V]], %[[P]], %[[P]]
  // CHECK-NEXT: mk.yield %[[QR]], %[[A]]
  // CHECK-NEXT: }
  // CHECK-NEXT: return %[[R]]#0, %[[R]]#1
  %qn = mk.head_norm %q, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!q, !g) -> !q
  %kn = mk.head_norm %k, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!k, !g) -> !k
  %qr = mk.rope %qn, %p, %f {head_dim = 16 : i64} : (!q, !i, !f) -> !q
  %kr = mk.rope %kn, %p, %f {head_dim = 16 : i64} : (!k, !i, !f) -> !k
  %c = mk.kv_cache {layer = 0 : i64} : !c
  %a = mk.kv_append %c, %kr, %v, %p, %p : (!c, !k, !k, !i, !i) -> !c
  return %qr, %a : !q, !c
}

// The norm is over half a head of the rotation.
// CHECK-LABEL: @other_size
// CHECK-NOT: mk.rowwise
func.func @other_size(%q: !q, %g: tensor<8xf32>, %f: !f, %p: !i) -> !q {
  %n = mk.head_norm %q, %g {head_dim = 8 : i64, eps = 1.0e-6 : f64} : (!q, tensor<8xf32>) -> !q
  %r = mk.rope %n, %p, %f {head_dim = 16 : i64} : (!q, !i, !f) -> !q
  return %r : !q
}

// The values of the store come from elsewhere: it stays, and its keys are a result.
// CHECK-LABEL: @other_rows
// CHECK-SAME: (%{{.*}}: tensor<?x32xf32>, %[[V:.*]]: tensor<?x32xf32>,
// CHECK: %[[R:.*]] = mk.rowwise {{.*}} -> tensor<?x32xf32> {
// CHECK: mk.yield
// CHECK: mk.kv_append %{{.*}}, %[[R]], %[[V]]
func.func @other_rows(%k: !k, %v: !k, %g: !g, %f: !f, %p: !i, %c: !c) -> !c {
  %n = mk.head_norm %k, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!k, !g) -> !k
  %r = mk.rope %n, %p, %f {head_dim = 16 : i64} : (!k, !i, !f) -> !k
  %a = mk.kv_append %c, %r, %v, %p, %p : (!c, !k, !k, !i, !i) -> !c
  return %a : !c
}

// CHECK-LABEL: @no_norm
// CHECK-NOT: mk.rowwise
func.func @no_norm(%k: !k, %f: !f, %p: !i, %c: !c) -> !c {
  %r = mk.rope %k, %p, %f {head_dim = 16 : i64} : (!k, !i, !f) -> !k
  %a = mk.kv_append %c, %r, %k, %p, %p : (!c, !k, !k, !i, !i) -> !c
  return %a : !c
}

// CHECK-LABEL: @only_a_norm
// CHECK-NOT: mk.rowwise
func.func @only_a_norm(%k: !k, %g: !g) -> !k {
  %n = mk.head_norm %k, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!k, !g) -> !k
  return %n : !k
}
