// Tests that mk.head_norm scales whole heads of an even width, with one gain for all.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @head_norm
func.func @head_norm(%x: tensor<?x64xf32>, %g: tensor<16xf32>) {
  // CHECK: mk.head_norm %{{.*}}, %{{.*}} {eps = 9.9999999999999995E-7 : f64, head_dim = 16 : i64} : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x64xf32>
  %0 = mk.head_norm %x, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<16xf32>) {
  // expected-error @+1 {{'mk.head_norm' op expected a finite eps > 0, found 0}}
  %0 = mk.head_norm %x, %g {head_dim = 16 : i64, eps = 0.0 : f64} : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x60xf32>, %g: tensor<15xf32>) {
  // expected-error @+1 {{'mk.head_norm' op expected an even, positive head_dim, found 15}}
  %0 = mk.head_norm %x, %g {head_dim = 15 : i64, eps = 1.0e-6 : f64} : (tensor<?x60xf32>, tensor<15xf32>) -> tensor<?x60xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<24xf32>) {
  // expected-error @+1 {{expected an input of whole heads of 24 columns, found 64 columns}}
  %0 = mk.head_norm %x, %g {head_dim = 24 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<24xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error @+1 {{expected a gain of 16 columns as a head, found 'tensor<64xf32>'}}
  %0 = mk.head_norm %x, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<16xf32>) {
  // expected-error @+1 {{expected a result of 64 columns as its input, found 'tensor<?x32xf32>'}}
  %0 = mk.head_norm %x, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x32xf32>
  return
}
