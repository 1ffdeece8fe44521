// Tests that attention takes a window, a cap of its scores and a sink for each query head, and its ranges too.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s
!i = tensor<?xi32>

// CHECK-LABEL: @attention
func.func @attention(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: !i, %k: tensor<4xf32>) {
  // CHECK: mk.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {scale = 2.500000e-01 : f64, softcap = 5.000000e+01 : f64, window = 20 : i64}
  %0 = mk.attention %q, %c, %p, %p, %k {scale = 0.25 : f64, softcap = 50.0 : f64, window = 20 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, !i, !i, tensor<4xf32>) -> tensor<?x64xf32>
  // CHECK: mk.attend %{{.*}} {scale = 2.500000e-01 : f64, softcap = 5.000000e+01 : f64, split = 32 : i64, splits = 2 : i64, window = 20 : i64}
  %1 = mk.attend %q, %c, %p, %p {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64, softcap = 50.0 : f64, window = 20 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, !i, !i) -> tensor<?x144xf32>
  // CHECK: mk.combine %{{.*}}, %{{.*}}, %{{.*}} {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64, window = 20 : i64}
  %2 = mk.combine %1, %p, %k {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64, window = 20 : i64} : (tensor<?x144xf32>, !i, tensor<4xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected a window of positions, or 0 for none, found -1}}
  %0 = mk.attention %q, %c, %p, %p {scale = 0.25 : f64, window = -1 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected a finite softcap, or 0 for none, found -2}}
  %0 = mk.attend %q, %c, %p, %p {scale = 0.25 : f64, softcap = -2.0 : f64, split = 32 : i64, splits = 2 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %k: tensor<2xf32>) {
  // expected-error @+1 {{expected sinks of 4 columns as query heads, found 'tensor<2xf32>'}}
  %0 = mk.attention %q, %c, %p, %p, %k {scale = 0.25 : f64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<2xf32>) -> tensor<?x64xf32>
  return
}
