// Tests that mk.combine joins what mk.attend returns for its heads and ranges.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @combine
func.func @combine(%x: tensor<?x144xf32>, %p: tensor<?xi32>) {
  // CHECK: mk.combine %{{.*}}, %{{.*}} {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64}
  %0 = mk.combine %x, %p {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x144xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{'mk.combine' op expected partial results of 216 columns as heads * splits * (head_dim + 2), found 'tensor<?x144xf32>'}}
  %0 = mk.combine %x, %p {head_dim = 16 : i64, split = 32 : i64, splits = 3 : i64} : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x144xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected a positive head_dim, found 0}}
  %0 = mk.combine %x, %p {head_dim = 0 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x144xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected a result of whole heads of 24 columns, found 64 columns}}
  %0 = mk.combine %x, %p {head_dim = 24 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}
