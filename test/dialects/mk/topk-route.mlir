// Tests that mk.topk_route chooses between one and all of the experts, in float32.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @route
func.func @route(%l: tensor<?x8xf32>) {
  // CHECK: mk.topk_route %{{.*}} {chosen = 8 : i64, normalize, scale = 2.500000e+00 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %0 = mk.topk_route %l {chosen = 8 : i64, normalize, scale = 2.5 : f64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: mk.topk_route %{{.*}} {chosen = 1 : i64} :
  %1 = mk.topk_route %l {chosen = 1 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{'mk.topk_route' op expected 1 to 8 chosen experts, found 9}}
  %0 = mk.topk_route %l {chosen = 9 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%l: tensor<?x8xbf16>) {
  // expected-error @+1 {{'mk.topk_route' op expected logits in f32, found 'tensor<?x8xbf16>'}}
  %0 = mk.topk_route %l {chosen = 2 : i64} : (tensor<?x8xbf16>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a result of 8 columns as its input, found 'tensor<?x2xf32>'}}
  %0 = mk.topk_route %l {chosen = 2 : i64} : (tensor<?x8xf32>) -> tensor<?x2xf32>
  return
}
