// Tests that mk.advance reads the chosen tokens and is not removed although it has no result.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @advance
func.func @advance(%n: tensor<?xi32>) {
  // CHECK: mk.advance %{{.*}} : tensor<?xi32>
  mk.advance %n : tensor<?xi32>
  return
}

// -----

func.func @f(%n: tensor<?xf32>) {
  // expected-error @+1 {{'mk.advance' op operand #0 must be run-time integers tensor<?xi32>, but got 'tensor<?xf32>'}}
  mk.advance %n : tensor<?xf32>
  return
}
