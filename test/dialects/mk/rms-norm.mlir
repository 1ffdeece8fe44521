// Tests that mk.rms_norm keeps the width, takes a gain for each column and needs a finite eps > 0.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @rms_norm
func.func @rms_norm(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // CHECK: mk.rms_norm %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %0 = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<32xf32>) {
  // expected-error @+1 {{'mk.rms_norm' op expected a gain of 64 columns as its input, found 'tensor<32xf32>'}}
  %0 = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error @+1 {{expected a result of 64 columns as its input, found 'tensor<?x32xf32>'}}
  %0 = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error @+1 {{expected a finite eps > 0, found 0.0}}
  %0 = mk.rms_norm %x, %g {eps = 0.0 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error @+1 {{expected a finite eps > 0, found}}
  %0 = mk.rms_norm %x, %g {eps = 0x7FF8000000000000 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}
