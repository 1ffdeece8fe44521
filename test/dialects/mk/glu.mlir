// Tests that mk.glu takes a gate and an up operand of equal width.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @glu
func.func @glu(%g: tensor<?x64xf32>, %u: tensor<?x64xf32>) {
  // CHECK: mk.glu %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %0 = mk.glu %g, %u : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%g: tensor<?x64xf32>, %u: tensor<?x32xf32>) {
  // expected-error @+1 {{'mk.glu' op expected an up operand of 64 columns as its gate, found 'tensor<?x32xf32>'}}
  %0 = mk.glu %g, %u : (tensor<?x64xf32>, tensor<?x32xf32>) -> tensor<?x64xf32>
  return
}
