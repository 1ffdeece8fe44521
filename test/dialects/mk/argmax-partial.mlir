// Tests that mk.argmax_partial returns two columns for each block, the last of which may be shorter.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @argmax_partial
func.func @argmax_partial(%x: tensor<?x160xf32>) {
  // CHECK: mk.argmax_partial %{{.*}} {block = 48 : i64} : (tensor<?x160xf32>) -> tensor<?x8xf32>
  %0 = mk.argmax_partial %x {block = 48 : i64} : (tensor<?x160xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x160xf32>) {
  // expected-error @+1 {{'mk.argmax_partial' op expected a result of 10 columns as two for each block, found 'tensor<?x8xf32>'}}
  %0 = mk.argmax_partial %x {block = 32 : i64} : (tensor<?x160xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x160xf32>) {
  // expected-error @+1 {{expected a positive block, found 0}}
  %0 = mk.argmax_partial %x {block = 0 : i64} : (tensor<?x160xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x160xf32>) {
  // expected-error @+1 {{expected a result in f32, found 'tensor<?x10xbf16>'}}
  %0 = mk.argmax_partial %x {block = 32 : i64} : (tensor<?x160xf32>) -> tensor<?x10xbf16>
  return
}
