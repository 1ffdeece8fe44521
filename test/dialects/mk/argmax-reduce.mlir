// Tests that mk.argmax_reduce reads pairs of float32 columns.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @argmax_reduce
func.func @argmax_reduce(%x: tensor<?x10xf32>) {
  // CHECK: mk.argmax_reduce %{{.*}} : (tensor<?x10xf32>) -> tensor<?xi32>
  %0 = mk.argmax_reduce %x : (tensor<?x10xf32>) -> tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x9xf32>) {
  // expected-error @+1 {{'mk.argmax_reduce' op expected pairs of columns, found 'tensor<?x9xf32>'}}
  %0 = mk.argmax_reduce %x : (tensor<?x9xf32>) -> tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x10xbf16>) {
  // expected-error @+1 {{expected partial results in f32, found 'tensor<?x10xbf16>'}}
  %0 = mk.argmax_reduce %x : (tensor<?x10xbf16>) -> tensor<?xi32>
  return
}
