// Tests that elementwise ops take rows of equal width, or a vector that has it, and a finite number.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @elementwise
func.func @elementwise(%x: tensor<?x64xf32>, %v: tensor<64xf32>) {
  // CHECK: mk.sub %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %0 = mk.sub %x, %v : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: mk.div %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = mk.div %0, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: mk.scale %{{.*}} {number = 5.000000e-01 : f64}
  %2 = mk.scale %1 {number = 0.5 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: mk.shift %{{.*}} {number = -1.000000e+00 : f64}
  %3 = mk.shift %2 {number = -1.0 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: mk.gelu_tanh %{{.*}} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %4 = mk.gelu_tanh %3 : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // expected-error @+1 {{'mk.sub' op expected a second operand of 64 columns as the first, found 'tensor<?x32xf32>'}}
  %0 = mk.sub %x, %y : (tensor<?x64xf32>, tensor<?x32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'mk.scale' op expected a finite number, found}}
  %0 = mk.scale %x {number = 0x7FF0000000000000 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'mk.tanh' op expected a result of 64 columns as its input, found 'tensor<?x32xf32>'}}
  %0 = mk.tanh %x : (tensor<?x64xf32>) -> tensor<?x32xf32>
  return
}
