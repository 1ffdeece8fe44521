// Tests that mk.select_rows keeps the columns of the rows that it selects.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @select_rows
func.func @select_rows(%x: tensor<?x64xf32>, %r: tensor<?xi32>) {
  // CHECK: mk.select_rows %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  %0 = mk.select_rows %x, %r : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %r: tensor<?xi32>) {
  // expected-error @+1 {{'mk.select_rows' op expected a result of 64 columns as its input, found 'tensor<?x32xf32>'}}
  %0 = mk.select_rows %x, %r : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %r: tensor<4xi32>) {
  // expected-error @+1 {{operand #1 must be run-time integers tensor<?xi32>, but got 'tensor<4xi32>'}}
  %0 = mk.select_rows %x, %r : (tensor<?x64xf32>, tensor<4xi32>) -> tensor<?x64xf32>
  return
}
