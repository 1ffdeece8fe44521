// Tests that mk.moe_linear has room for each chosen expert, and a route for all experts.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @moe_linear
func.func @moe_linear(%x: tensor<?x64xf32>, %r: tensor<?x8xf32>, %w: tensor<8x96x64xbf16>) {
  // CHECK: mk.moe_linear %{{.*}}, %{{.*}}, %{{.*}} {chosen = 3 : i64} : (tensor<?x64xf32>, tensor<?x8xf32>, tensor<8x96x64xbf16>) -> tensor<?x288xbf16>
  %0 = mk.moe_linear %x, %r, %w {chosen = 3 : i64} : (tensor<?x64xf32>, tensor<?x8xf32>, tensor<8x96x64xbf16>) -> tensor<?x288xbf16>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %r: tensor<?x8xf32>, %w: tensor<8x96x64xf32>) {
  // expected-error @+1 {{'mk.moe_linear' op expected a result of 288 columns, found 'tensor<?x96xf32>'}}
  %0 = mk.moe_linear %x, %r, %w {chosen = 3 : i64} : (tensor<?x64xf32>, tensor<?x8xf32>, tensor<8x96x64xf32>) -> tensor<?x96xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %r: tensor<?x3xf32>, %w: tensor<8x96x64xf32>) {
  // expected-error @+1 {{expected a route with a column for each of 8 experts, found 'tensor<?x3xf32>'}}
  %0 = mk.moe_linear %x, %r, %w {chosen = 3 : i64} : (tensor<?x64xf32>, tensor<?x3xf32>, tensor<8x96x64xf32>) -> tensor<?x288xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %r: tensor<?x8xf32>, %w: tensor<8x96x64xf32>) {
  // expected-error @+1 {{expected its epilogue to have one argument of type 'tensor<?x96xf32>'}}
  %0 = mk.moe_linear %x, %r, %w {chosen = 3 : i64} : (tensor<?x64xf32>, tensor<?x8xf32>, tensor<8x96x64xf32>) -> tensor<?x288xf32> epilogue {
  ^bb0(%acc: tensor<?x288xf32>):
    mk.yield %acc : tensor<?x288xf32>
  }
  return
}
