// Tests that mk.weight names a tensor of the checkpoint, which has a static, positive size and a stored element type.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @weight
func.func @weight() {
  // CHECK: mk.weight @model.norm.weight : tensor<64xf32>
  %0 = mk.weight @model.norm.weight : tensor<64xf32>
  // CHECK: mk.weight @embed : tensor<160x64xbf16>
  %1 = mk.weight @embed : tensor<160x64xbf16>
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{'mk.weight' op result #0 must be weight tensor<Dxf32>, tensor<RxKxf32|bf16> or tensor<ExRxKxf32|bf16>, but got 'tensor<?x64xf32>'}}
  %0 = mk.weight @embed : tensor<?x64xf32>
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{but got 'tensor<64xbf16>'}}
  %0 = mk.weight @norm : tensor<64xbf16>
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{'mk.weight' op expected the name of a tensor of the checkpoint, found an empty one}}
  %0 = "mk.weight"() {source = @""} : () -> tensor<64xf32>
  return
}
