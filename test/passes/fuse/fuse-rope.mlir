// Tests that rotation and store move into the projection of keys and values, but the store not if these are two linears.
// RUN: mk-opt %s --mk-fuse-slice --mk-fuse-rope | FileCheck %s
!x = tensor<?x64xf32>
!w = tensor<32x64xf32>
!k = tensor<?x32xf32>
!c = !mk.cache<2x16xf32>
!i = tensor<?xi32>

// CHECK-LABEL: @one_linear
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<32x64xf32>, %[[C:.*]]: !mk.cache<2x16xf32>, %[[F:.*]]: tensor<8xf32>, %[[P:.*]]: tensor<?xi32>, %[[S:.*]]: tensor<?xi32>)
func.func @one_linear(%x: !x, %w: !w, %c: !c, %f: tensor<8xf32>, %p: !i, %s: !i) -> !c {
  // CHECK-NEXT: mk.linear %[[X]], [%[[W]], %[[W]]] : {{.*}} -> !mk.cache<2x16xf32> epilogue {
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: tensor<?x64xf32>):
  // CHECK-NEXT: %[[K:.*]] = mk.slice %[[ACC]] {offset = 0 : i64}
  // CHECK-NEXT: %[[V:.*]] = mk.slice %[[ACC]] {offset = 32 : i64}
  // CHECK-NEXT: %[[R:.*]] = mk.rope %[[K]], %[[P]], %[[F]]
  // CHECK-NEXT: %[[A:.*]] = mk.kv_append %[[C]], %[[R]], %[[V]], %[[P]], %[[S]]
  // CHECK-NEXT: mk.yield %[[A]] : !mk.cache<2x16xf32>
  %kv = mk.linear %x, [%w, %w] : (!x, !w, !w) -> !x
  %k = mk.slice %kv {offset = 0 : i64} : (!x) -> !k
  %v = mk.slice %kv {offset = 32 : i64} : (!x) -> !k
  %r = mk.rope %k, %p, %f {head_dim = 16 : i64} : (!k, !i, tensor<8xf32>) -> !k
  %a = mk.kv_append %c, %r, %v, %p, %s : (!c, !k, !k, !i, !i) -> !c
  return %a : !c
}

// CHECK-LABEL: @two_linears
// CHECK: %[[R:.*]] = mk.linear {{.*}} epilogue
// CHECK: %[[V:.*]] = mk.linear {{.*}} -> tensor<?x32xf32>{{$}}
// CHECK-NEXT: mk.kv_append %{{.*}}, %[[R]], %[[V]]
func.func @two_linears(%x: !x, %w: !w, %c: !c, %f: tensor<8xf32>, %p: !i, %s: !i) -> !c {
  %k = mk.linear %x, [%w] : (!x, !w) -> !k
  %r = mk.rope %k, %p, %f {head_dim = 16 : i64} : (!k, !i, tensor<8xf32>) -> !k
  %v = mk.linear %x, [%w] : (!x, !w) -> !k
  %a = mk.kv_append %c, %r, %v, %p, %s : (!c, !k, !k, !i, !i) -> !c
  return %a : !c
}
