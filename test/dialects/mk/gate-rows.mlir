// Tests that the gate of mk.gate_rows is one column of float32.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @gate_rows
func.func @gate_rows(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>) {
  // CHECK: mk.gate_rows %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf32>
  %0 = mk.gate_rows %x, %g : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<?x2xf32>) {
  // expected-error @+1 {{'mk.gate_rows' op expected a gate of one column, found 'tensor<?x2xf32>'}}
  %0 = mk.gate_rows %x, %g : (tensor<?x64xf32>, tensor<?x2xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<?x1xbf16>) {
  // expected-error @+1 {{'mk.gate_rows' op expected a gate in f32, found 'tensor<?x1xbf16>'}}
  %0 = mk.gate_rows %x, %g : (tensor<?x64xf32>, tensor<?x1xbf16>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>) {
  // expected-error @+1 {{expected a result of 64 columns as its input, found 'tensor<?x1xf32>'}}
  %0 = mk.gate_rows %x, %g : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  return
}
