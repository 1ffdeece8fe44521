// Tests that mk.attend returns sums, maximum and total of every head and range.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @attend
func.func @attend(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // CHECK: mk.attend %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {scale = 2.500000e-01 : f64, split = 32 : i64, splits = 2 : i64}
  %0 = mk.attend %q, %c, %p, %s {scale = 2.5e-1 : f64, split = 32 : i64, splits = 2 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'mk.attend' op expected a result of 216 columns as heads * splits * (head_dim + 2), found 'tensor<?x144xf32>'}}
  %0 = mk.attend %q, %c, %p, %s {scale = 2.5e-1 : f64, split = 32 : i64, splits = 3 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected a positive split, found 0}}
  %0 = mk.attend %q, %c, %p, %s {scale = 2.5e-1 : f64, split = 0 : i64, splits = 2 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected a positive number of splits, found 0}}
  %0 = mk.attend %q, %c, %p, %s {scale = 2.5e-1 : f64, split = 32 : i64, splits = 0 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected partial results in f32, found 'tensor<?x144xbf16>'}}
  %0 = mk.attend %q, %c, %p, %s {scale = 2.5e-1 : f64, split = 32 : i64, splits = 2 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xbf16>
  return
}
