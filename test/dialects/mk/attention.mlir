// Tests that mk.attention reads a query of whole heads, a multiple of the cache's.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @attention
func.func @attention(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // CHECK: mk.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {scale = 2.500000e-01 : f64}
  %0 = mk.attention %q, %c, %p, %s {scale = 2.5e-1 : f64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%q: tensor<?x72xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'mk.attention' op expected a query of whole heads of 16 columns, found 72 columns}}
  %0 = mk.attention %q, %c, %p, %s {scale = 2.5e-1 : f64} : (tensor<?x72xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x72xf32>
  return
}

// -----

func.func @f(%q: tensor<?x48xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected a multiple of the cache's 2 heads, found a query of 3 heads}}
  %0 = mk.attention %q, %c, %p, %s {scale = 2.5e-1 : f64} : (tensor<?x48xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x48xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected a result of 64 columns as its input, found 'tensor<?x32xf32>'}}
  %0 = mk.attention %q, %c, %p, %s {scale = 2.5e-1 : f64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected a finite scale, found}}
  %0 = mk.attention %q, %c, %p, %s {scale = 0x7FF0000000000000 : f64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
  return
}
