// Tests that a gate and a product of neighbouring columns move into the projection, but not if the columns are paired already.
// RUN: mk-opt %s --mk-fuse-slice --mk-fuse-rope --mk-fuse-glu | FileCheck %s
!x = tensor<?x64xf32>
!w = tensor<32x64xf32>
!y = tensor<?x32xf32>
!i = tensor<?xi32>

// CHECK-LABEL: @gate_up
func.func @gate_up(%x: !x, %w: !w) -> (!y, !y) {
  // CHECK: mk.linear {{.*}} -> (tensor<?x32xf32>, tensor<?x32xf32>) epilogue {
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: tensor<?x64xf32>):
  // CHECK-NEXT: %[[G:.*]] = mk.slice %[[ACC]] {offset = 0 : i64}
  // CHECK-NEXT: %[[U:.*]] = mk.slice %[[ACC]] {offset = 32 : i64}
  // CHECK-NEXT: %[[H:.*]] = mk.glu %[[G]], %[[U]]
  // CHECK-NEXT: %[[M:.*]] = mk.mul %[[G]], %[[U]]
  // CHECK-NEXT: mk.yield %[[H]], %[[M]]
  %gu = mk.linear %x, [%w, %w] : (!x, !w, !w) -> !x
  %g = mk.slice %gu {offset = 0 : i64} : (!x) -> !y
  %u = mk.slice %gu {offset = 32 : i64} : (!x) -> !y
  %h = mk.glu %g, %u : (!y, !y) -> !y
  %m = mk.mul %g, %u : (!y, !y) -> !y
  return %h, %m : !y, !y
}

// CHECK-LABEL: @rotated
// CHECK: mk.rope
// CHECK: mk.yield
// CHECK-NEXT: }
// CHECK-NEXT: mk.glu
func.func @rotated(%x: !x, %w: !w, %f: tensor<8xf32>, %p: !i) -> !y {
  %gu = mk.linear %x, [%w, %w] : (!x, !w, !w) -> !x
  %g = mk.slice %gu {offset = 0 : i64} : (!x) -> !y
  %u = mk.slice %gu {offset = 32 : i64} : (!x) -> !y
  %r = mk.rope %g, %p, %f {head_dim = 16 : i64} : (!y, !i, tensor<8xf32>) -> !y
  %h = mk.glu %r, %u : (!y, !y) -> !y
  return %h : !y
}
