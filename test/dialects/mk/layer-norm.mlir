// Tests that mk.layer_norm takes a gain and a bias as wide as its rows, each if there is one.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @norm
func.func @norm(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // CHECK: mk.layer_norm %{{.*}} gain %{{.*}} bias %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %0 = mk.layer_norm %x gain %g bias %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: mk.layer_norm %{{.*}} bias %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %1 = mk.layer_norm %0 bias %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: mk.layer_norm %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %2 = mk.layer_norm %1 {eps = 1.0e-5 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<32xf32>) {
  // expected-error @+1 {{'mk.layer_norm' op expected a bias of 64 columns as its input, found 'tensor<32xf32>'}}
  %0 = mk.layer_norm %x bias %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'mk.layer_norm' op expected a finite eps > 0, found 0}}
  %0 = mk.layer_norm %x {eps = 0.0 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}
