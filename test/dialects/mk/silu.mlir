// Tests that mk.silu keeps the width and may round its result.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @silu
func.func @silu(%x: tensor<?x64xf32>) {
  // CHECK: mk.silu %{{.*}} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %0 = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'mk.silu' op expected a result of 64 columns as its input, found 'tensor<?x32xf32>'}}
  %0 = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{result #0 must be activation rows tensor<?xDxf32|bf16>, but got 'tensor<?x64xf16>'}}
  %0 = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf16>
  return
}
