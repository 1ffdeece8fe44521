// Tests that mk.rope takes whole heads of an even width, with a frequency for each of their pairs or fewer.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @rope
func.func @rope(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<8xf32>) {
  // CHECK: mk.rope %{{.*}}, %{{.*}}, %{{.*}} {head_dim = 16 : i64, scale = 5.000000e-01 : f64}
  %0 = mk.rope %x, %p, %f {head_dim = 16 : i64, scale = 5.0e-1 : f64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<8xf32>) {
  // expected-error @+1 {{'mk.rope' op expected an even, positive head_dim, found 15}}
  %0 = mk.rope %x, %p, %f {head_dim = 15 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<12xf32>) {
  // expected-error @+1 {{expected an input of whole heads of 24 columns, found 64 columns}}
  %0 = mk.rope %x, %p, %f {head_dim = 24 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<12xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<17xf32>) {
  // expected-error @+1 {{expected frequencies for at most half a head of 32 columns, found 17}}
  %0 = mk.rope %x, %p, %f {head_dim = 32 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<17xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<8xf32>) {
  %0 = mk.rope %x, %p, %f {head_dim = 32 : i64, partner = 16 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
  // expected-error @+1 {{expected a partner half a head of 32 or 8 columns apart, found 12}}
  %1 = mk.rope %x, %p, %f {head_dim = 32 : i64, partner = 12 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<8xf32>) {
  // expected-error @+1 {{expected a finite scale, found}}
  %0 = mk.rope %x, %p, %f {head_dim = 16 : i64, scale = 0x7FF0000000000000 : f64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
  return
}
