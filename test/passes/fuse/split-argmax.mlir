// Tests that argmax is cut into blocks of one weight tile, 2 * lanes columns, the last of which may be shorter.
// RUN: mk-opt %s --split-input-file --verify-diagnostics --mk-split-argmax | FileCheck %s

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 8, bandwidth = 30>} {
// CHECK-LABEL: @step
// CHECK-SAME: (%[[X:.*]]: tensor<?x50xf32>)
func.func @step(%x: tensor<?x50xf32>) -> tensor<?xi32> {
  // CHECK-NEXT: %[[PARTS:.*]] = mk.argmax_partial %[[X]] {block = 16 : i64} : (tensor<?x50xf32>) -> tensor<?x8xf32>
  // CHECK-NEXT: %[[T:.*]] = mk.argmax_reduce %[[PARTS]]
  // CHECK-NEXT: return %[[T]]
  %t = mk.argmax %x : (tensor<?x50xf32>) -> tensor<?xi32>
  return %t : tensor<?xi32>
}
}

// -----

// expected-error @+1 {{'func.func' op expected the machine in the module attribute mk.target, found none}}
func.func @step(%x: tensor<?x50xf32>) -> tensor<?xi32> {
  %t = mk.argmax %x : (tensor<?x50xf32>) -> tensor<?xi32>
  return %t : tensor<?xi32>
}
