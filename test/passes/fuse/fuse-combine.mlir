// Tests that the join of attention ranges moves into the one linear that reads it, but not if there are two readers.
// RUN: mk-opt %s --mk-fuse-combine | FileCheck %s
!p = tensor<?x144xf32>
!x = tensor<?x64xf32>
!w = tensor<64x64xf32>

// CHECK-LABEL: @one_reader
// CHECK-SAME: (%[[P:.*]]: tensor<?x144xf32>, %[[I:.*]]: tensor<?xi32>, %[[W:.*]]: tensor<64x64xf32>)
func.func @one_reader(%p: !p, %i: tensor<?xi32>, %w: !w) -> !x {
  // CHECK-NEXT: mk.linear %[[P]], [%[[W]]] : (tensor<?x144xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> prologue {
  // CHECK-NEXT: ^bb0(%[[ROW:.*]]: tensor<?x144xf32>):
  // CHECK-NEXT: %[[A:.*]] = mk.combine %[[ROW]], %[[I]]
  // CHECK-NEXT: mk.yield %[[A]] : tensor<?x64xf32>
  %a = mk.combine %p, %i {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64} : (!p, tensor<?xi32>) -> !x
  %y = mk.linear %a, [%w] : (!x, !w) -> !x
  return %y : !x
}

// CHECK-LABEL: @two_readers
// CHECK: %[[A:.*]] = mk.combine
// CHECK: mk.linear %[[A]]
// CHECK: mk.linear %[[A]]
func.func @two_readers(%p: !p, %i: tensor<?xi32>, %w: !w, %b: tensor<64x64xbf16>) -> (!x, !x) {
  %a = mk.combine %p, %i {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64} : (!p, tensor<?xi32>) -> !x
  %y = mk.linear %a, [%w] : (!x, !w) -> !x
  %z = mk.linear %a, [%b] : (!x, tensor<64x64xbf16>) -> !x
  return %y, %z : !x, !x
}
