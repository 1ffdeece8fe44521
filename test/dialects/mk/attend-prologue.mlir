// Tests that a prologue of mk.attend makes the query, the keys and the values of its operands.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @attend
func.func @attend(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %g: tensor<16xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>) {
  // CHECK: mk.attend {{.*}} prologue {
  // CHECK-NEXT: ^bb0(%{{.*}}: tensor<?x64xf32>, %{{.*}}: tensor<?x32xf32>, %{{.*}}: tensor<?x32xf32>):
  %0 = mk.attend %q, %c, %p, %p, %k, %k {scale = 2.5e-1 : f64, split = 32 : i64, splits = 2 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x144xf32> prologue {
  ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x32xf32>, %d: tensor<?x32xf32>):
    %m = mk.head_norm %b, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x32xf32>, tensor<16xf32>) -> tensor<?x32xbf16>
    mk.yield %a, %m, %m : tensor<?x64xf32>, tensor<?x32xbf16>, tensor<?x32xbf16>
  }
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected its prologue to yield a query, keys and values, found ('tensor<?x64xf32>')}}
  %0 = mk.attend %q, %c, %p, %p, %k, %k {scale = 2.5e-1 : f64, split = 32 : i64, splits = 2 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x144xf32> prologue {
  ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x32xf32>, %d: tensor<?x32xf32>):
    mk.yield %a : tensor<?x64xf32>
  }
  return
}

// -----

func.func @f(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xbf16>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected keys and values of the step beside a prologue, found none}}
  %0 = mk.attend %q, %c, %p, %p {scale = 2.5e-1 : f64, split = 32 : i64, splits = 2 : i64} : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32> prologue {
  ^bb0(%a: tensor<?x64xf32>):
    mk.yield %a : tensor<?x64xf32>
  }
  return
}
