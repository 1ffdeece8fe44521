// Tests that a linear that only slices read returns the slices, but not if something needs the whole result.
// RUN: mk-opt %s --mk-fuse-slice | FileCheck %s
!x = tensor<?x64xf32>
!w = tensor<96x64xf32>
!a = tensor<?x96xf32>
!s = tensor<?x32xf32>

// CHECK-LABEL: @sliced
func.func @sliced(%x: !x, %w: !w) -> (!s, !s) {
  // CHECK: %[[S:.*]]:2 = mk.linear {{.*}} -> (tensor<?x32xf32>, tensor<?x32xf32>) epilogue {
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: tensor<?x96xf32>):
  // CHECK-NEXT: %[[A:.*]] = mk.slice %[[ACC]] {offset = 64 : i64}
  // CHECK-NEXT: %[[B:.*]] = mk.slice %[[ACC]] {offset = 0 : i64}
  // CHECK-NEXT: mk.yield %[[A]], %[[B]]
  // CHECK: return %[[S]]#1, %[[S]]#0
  %y = mk.linear %x, [%w] : (!x, !w) -> !a
  %1 = mk.slice %y {offset = 64 : i64} : (!a) -> !s
  %0 = mk.slice %y {offset = 0 : i64} : (!a) -> !s
  return %0, %1 : !s, !s
}

// CHECK-LABEL: @whole
// CHECK: %[[Y:.*]] = mk.linear
// CHECK-NEXT: mk.slice %[[Y]]
func.func @whole(%x: !x, %w: !w) -> (!s, !a) {
  %y = mk.linear %x, [%w] : (!x, !w) -> !a
  %0 = mk.slice %y {offset = 0 : i64} : (!a) -> !s
  return %0, %y : !s, !a
}
