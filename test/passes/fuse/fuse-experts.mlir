// Tests that the residual sum joins the sum of the experts, but not where another op reads that too, nor where the other
// operand needs it.
// RUN: mk-opt %s --mk-fuse-experts | FileCheck %s
!x = tensor<?x64xf32>
!h = tensor<?x192xf32>
!r = tensor<?x8xf32>
!w = tensor<8x64x96xf32>

// CHECK-LABEL: @residual
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[H:.*]]: tensor<?x192xf32>
func.func @residual(%x: !x, %h: !h, %r: !r, %w: !w) -> !x {
  // CHECK-NEXT: %[[S:.*]] = mk.silu %[[X]]
  // CHECK-NEXT: %[[Y:.*]] = mk.moe_combine %[[H]]{{.*}} epilogue {
  // CHECK-NEXT: ^bb0(%[[SUM:.*]]: tensor<?x64xf32>):
  // CHECK-NEXT: %[[A:.*]] = mk.add %[[SUM]], %[[S]]
  // CHECK-NEXT: %[[B:.*]] = mk.add %[[X]], %[[A]]
  // CHECK-NEXT: mk.yield %[[B]]
  // CHECK: return %[[Y]]
  %y = mk.moe_combine %h, %r, %w {chosen = 2 : i64} : (!h, !r, !w) -> !x
  %s = mk.silu %x : (!x) -> !x
  %a = mk.add %y, %s : (!x, !x) -> !x
  %b = mk.add %x, %a : (!x, !x) -> !x
  return %b : !x
}

// CHECK-LABEL: @kept
func.func @kept(%x: !x, %h: !h, %r: !r, %w: !w) -> (!x, !x) {
  // CHECK-NOT: epilogue
  // CHECK: mk.add
  %y = mk.moe_combine %h, %r, %w {chosen = 2 : i64} : (!h, !r, !w) -> !x
  %a = mk.add %x, %y : (!x, !x) -> !x
  return %a, %y : !x, !x
}
