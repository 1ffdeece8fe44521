// Tests that a norm and a selection of rows move into the linears that read them, rows first, but not if others read them.
// RUN: mk-opt %s --mk-fuse-norm | FileCheck %s
!x = tensor<?x64xf32>
!w = tensor<96x64xf32>
!g = tensor<64xf32>

// CHECK-LABEL: @both
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<96x64xf32>, %[[G:.*]]: tensor<64xf32>, %[[R:.*]]: tensor<?xi32>)
func.func @both(%x: !x, %w: !w, %g: !g, %r: tensor<?xi32>) -> tensor<?x96xf32> {
  // CHECK-NEXT: %[[Y:.*]] = mk.linear %[[X]], [%[[W]]] {{.*}} prologue {
  // CHECK-NEXT: ^bb0(%[[ROW:.*]]: tensor<?x64xf32>):
  // CHECK-NEXT: %[[S:.*]] = mk.select_rows %[[ROW]], %[[R]]
  // CHECK-NEXT: %[[N:.*]] = mk.rms_norm %[[S]], %[[G]] {eps = 1.000000e-05 : f64}
  // CHECK-NEXT: mk.yield %[[N]]
  %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  %s = mk.select_rows %n, %r : (!x, tensor<?xi32>) -> !x
  %y = mk.linear %s, [%w] : (!x, !w) -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// CHECK-LABEL: @two_readers
// CHECK-COUNT-2: prologue
// CHECK-NOT: prologue
func.func @two_readers(%x: !x, %w: !w, %b: tensor<96x64xbf16>, %g: !g) -> (tensor<?x96xf32>, tensor<?x96xf32>) {
  %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  %y = mk.linear %n, [%w] : (!x, !w) -> tensor<?x96xf32>
  %z = mk.linear %n, [%b] : (!x, tensor<96x64xbf16>) -> tensor<?x96xf32>
  return %y, %z : tensor<?x96xf32>, tensor<?x96xf32>
}

// CHECK-LABEL: @layer
// CHECK: prologue {
// CHECK: mk.layer_norm %{{.*}} gain %{{.*}} {eps
func.func @layer(%x: !x, %w: !w, %g: !g) -> tensor<?x96xf32> {
  %n = mk.layer_norm %x gain %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  %y = mk.linear %n, [%w] : (!x, !w) -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// CHECK-LABEL: @also_returned
// CHECK: %[[N:.*]] = mk.rms_norm
// CHECK: mk.linear %[[N]]
func.func @also_returned(%x: !x, %w: !w, %g: !g) -> (tensor<?x96xf32>, !x) {
  %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  %y = mk.linear %n, [%w] : (!x, !w) -> tensor<?x96xf32>
  return %y, %n : tensor<?x96xf32>, !x
}

// The router gets a norm of its own, and the rows of the experts come behind it.
// CHECK-LABEL: @experts
// CHECK: mk.linear %{{.*}} prologue {
// CHECK: mk.yield
// CHECK-NEXT: }
// CHECK-NEXT: %[[N:.*]] = mk.rms_norm
// CHECK-NEXT: mk.topk_route
// CHECK-NEXT: mk.moe_linear %[[N]]
func.func @experts(%x: !x, %r: tensor<8x64xf32>, %e: tensor<8x96x64xf32>, %g: !g) -> tensor<?x192xf32> {
  %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  %l = mk.linear %n, [%r] : (!x, tensor<8x64xf32>) -> tensor<?x8xf32>
  %t = mk.topk_route %l {chosen = 2 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = mk.moe_linear %n, %t, %e {chosen = 2 : i64} : (!x, tensor<?x8xf32>, tensor<8x96x64xf32>) -> tensor<?x192xf32>
  return %y : tensor<?x192xf32>
}
