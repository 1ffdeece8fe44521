// Tests that elementwise work on a linear's result moves into its epilogue, but not if the other operand needs that result.
// RUN: mk-opt %s --mk-fuse-residual | FileCheck %s
!x = tensor<?x64xf32>
!w = tensor<64x64xf32>

// CHECK-LABEL: @residual
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<64x64xf32>)
func.func @residual(%x: !x, %w: !w) -> (!x, !x) {
  // CHECK-NEXT: %[[BIAS:.*]] = mk.weight @bias
  // CHECK-NEXT: %[[Y:.*]]:2 = mk.linear %[[X]], [%[[W]]] {{.*}} epilogue {
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: tensor<?x64xf32>):
  // CHECK-NEXT: %[[B:.*]] = mk.add %[[ACC]], %[[BIAS]]
  // CHECK-NEXT: %[[S:.*]] = mk.silu %[[B]]
  // CHECK-NEXT: %[[R:.*]] = mk.add %[[X]], %[[S]]
  // CHECK-NEXT: mk.yield %[[B]], %[[R]]
  // CHECK: return %[[Y]]#1, %[[Y]]#0
  %y = mk.linear %x, [%w] : (!x, !w) -> !x
  %bias = mk.weight @bias : tensor<64xf32>
  %b = mk.add %y, %bias : (!x, tensor<64xf32>) -> !x
  %s = mk.silu %b : (!x) -> !x
  %r = mk.add %x, %s : (!x, !x) -> !x
  return %r, %b : !x, !x
}

// CHECK-LABEL: @later_linear
// CHECK: %[[A:.*]] = mk.linear {{.*}} -> tensor<?x64xf32>{{$}}
// CHECK: mk.linear {{.*}} epilogue
// CHECK: mk.add %[[A]], %
func.func @later_linear(%x: !x, %w: !w) -> !x {
  %a = mk.linear %x, [%w] : (!x, !w) -> !x
  %b = mk.linear %a, [%w] : (!x, !w) -> !x
  %r = mk.add %a, %b : (!x, !x) -> !x
  return %r : !x
}

// CHECK-LABEL: @depends
// CHECK-NOT: epilogue
// CHECK: mk.mul
func.func @depends(%x: !x, %w: !w, %g: tensor<64xf32>) -> !x {
  %a = mk.linear %x, [%w] : (!x, !w) -> !x
  %n = mk.rms_norm %a, %g {eps = 1.0e-5 : f64} : (!x, tensor<64xf32>) -> !x
  %r = mk.mul %a, %n : (!x, !x) -> !x
  return %r : !x
}
