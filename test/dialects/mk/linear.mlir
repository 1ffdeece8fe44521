// Tests that mk.linear multiplies rows as wide as its weights, which agree with each other.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @linear
func.func @linear(%x: tensor<?x64xf32>, %v: tensor<96x64xf32>, %w: tensor<32x64xf32>) {
  // CHECK: mk.linear %{{.*}}, [%{{.*}}, %{{.*}}] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<32x64xf32>) -> tensor<?x128xf32>
  %0 = mk.linear %x, [%v, %w] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<32x64xf32>) -> tensor<?x128xf32>
  // CHECK-NEXT: mk.linear %{{.*}}, [%{{.*}}] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xbf16>
  %1 = mk.linear %x, [%v] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xbf16>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %v: tensor<96x64xf32>, %w: tensor<96x64xf32>) {
  // expected-error @+1 {{'mk.linear' op expected at least one weight}}
  %0 = mk.linear %x, [] : (tensor<?x64xf32>) -> tensor<?x96xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %v: tensor<96x64xf32>, %w: tensor<96x64xbf16>) {
  // expected-error @+1 {{expected all weights to have the element type and column count of the first, 'tensor<96x64xf32>', found 'tensor<96x64xbf16>'}}
  %0 = mk.linear %x, [%v, %w] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<96x64xbf16>) -> tensor<?x192xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %v: tensor<96x64xf32>, %w: tensor<96x32xf32>) {
  // expected-error @+1 {{expected rows of 32 columns to meet the weights, found 'tensor<?x64xf32>'}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x32xf32>) -> tensor<?x96xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %v: tensor<96x64xf32>, %w: tensor<96x64xf32>) {
  // expected-error @+1 {{expected one result of type 'tensor<?x96xf32>' (or bf16) without an epilogue, found ('tensor<?x64xf32>')}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x64xf32>
  return
}
