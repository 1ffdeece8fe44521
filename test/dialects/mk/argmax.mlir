// Tests that mk.argmax returns one integer for each row.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @argmax
func.func @argmax(%x: tensor<?x160xf32>) {
  // CHECK: mk.argmax %{{.*}} : (tensor<?x160xf32>) -> tensor<?xi32>
  %0 = mk.argmax %x : (tensor<?x160xf32>) -> tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x160xf32>) {
  // expected-error @+1 {{'mk.argmax' op result #0 must be run-time integers tensor<?xi32>, but got 'tensor<?xi64>'}}
  %0 = mk.argmax %x : (tensor<?x160xf32>) -> tensor<?xi64>
  return
}
