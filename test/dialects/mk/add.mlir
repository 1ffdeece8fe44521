// Tests that mk.add takes rows of equal width or a vector for every row.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @add
func.func @add(%x: tensor<?x64xf32>, %y: tensor<64xf32>) {
  // CHECK: mk.add %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %0 = mk.add %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // expected-error @+1 {{'mk.add' op expected a second operand of 64 columns as the first, found 'tensor<?x32xf32>'}}
  %0 = mk.add %x, %y : (tensor<?x64xf32>, tensor<?x32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %y: tensor<1xf32>) {
  // expected-error @+1 {{expected a second operand of 64 columns as the first, found 'tensor<1xf32>'}}
  %0 = mk.add %x, %y : (tensor<?x64xf32>, tensor<1xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %y: tensor<64x64xf32>) {
  // expected-error @+1 {{operand #1 must be activation rows or a per-column weight, but got 'tensor<64x64xf32>'}}
  %0 = mk.add %x, %y : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return
}
