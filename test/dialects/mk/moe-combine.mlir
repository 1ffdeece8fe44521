// Tests that mk.moe_combine takes a block of columns for each chosen expert, and that its epilogue makes the result.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @moe_combine
func.func @moe_combine(%h: tensor<?x288xbf16>, %r: tensor<?x8xf32>, %w: tensor<8x64x96xbf16>) {
  // CHECK: mk.moe_combine %{{.*}}, %{{.*}}, %{{.*}} {chosen = 3 : i64} : (tensor<?x288xbf16>, tensor<?x8xf32>, tensor<8x64x96xbf16>) -> tensor<?x64xf32>
  %0 = mk.moe_combine %h, %r, %w {chosen = 3 : i64} : (tensor<?x288xbf16>, tensor<?x8xf32>, tensor<8x64x96xbf16>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%h: tensor<?x96xf32>, %r: tensor<?x8xf32>, %w: tensor<8x64x96xf32>) {
  // expected-error @+1 {{'mk.moe_combine' op expected rows of 288 columns to meet the weights, found 'tensor<?x96xf32>'}}
  %0 = mk.moe_combine %h, %r, %w {chosen = 3 : i64} : (tensor<?x96xf32>, tensor<?x8xf32>, tensor<8x64x96xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%h: tensor<?x96xf32>, %r: tensor<?x8xf32>, %w: tensor<8x64x96xf32>) {
  // expected-error @+1 {{expected 1 to 8 chosen experts, found 0}}
  %0 = mk.moe_combine %h, %r, %w {chosen = 0 : i64} : (tensor<?x96xf32>, tensor<?x8xf32>, tensor<8x64x96xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%h: tensor<?x96xf32>, %r: tensor<?x8xf32>, %w: tensor<8x64x96xf32>) {
  // expected-error @+1 {{expected its epilogue to yield rows of the result's element type, 'tensor<?x64xbf16>', found ('tensor<?x64xf32>')}}
  %0 = mk.moe_combine %h, %r, %w {chosen = 1 : i64} : (tensor<?x96xf32>, tensor<?x8xf32>, tensor<8x64x96xf32>) -> tensor<?x64xbf16> epilogue {
  ^bb0(%sum: tensor<?x64xf32>):
    mk.yield %sum : tensor<?x64xf32>
  }
  return
}
