// Tests that mk.embedding looks up rows of a table as wide as its result.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @embedding
func.func @embedding(%t: tensor<160x64xbf16>, %i: tensor<?xi32>) {
  // CHECK: mk.embedding %{{.*}}, %{{.*}} : (tensor<160x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
  %0 = mk.embedding %t, %i : (tensor<160x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%t: tensor<160x32xbf16>, %i: tensor<?xi32>) {
  // expected-error @+1 {{'mk.embedding' op expected a result of 32 columns as its table, found 'tensor<?x64xf32>'}}
  %0 = mk.embedding %t, %i : (tensor<160x32xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%t: tensor<160x64xbf16>, %i: tensor<?xi32>) {
  %0 = mk.embedding %t, %i {offset = 2 : i64} : (tensor<160x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
  // expected-error @+1 {{'mk.embedding' op expected an offset within the 160 rows of its table, found 160}}
  %1 = mk.embedding %t, %i {offset = 160 : i64} : (tensor<160x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%t: tensor<160xf32>, %i: tensor<?xi32>) {
  // expected-error @+1 {{operand #0 must be weight matrix tensor<RxKxf32|bf16>, but got 'tensor<160xf32>'}}
  %0 = mk.embedding %t, %i : (tensor<160xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}
