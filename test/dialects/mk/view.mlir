// Tests that a view takes rows that its tensor has, and that a weight has the shape of its view.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @view
func.func @view() {
  // CHECK: mk.weight @a view<shape = [64], plus = 1.000000e+00> : tensor<64xf32>
  %0 = mk.weight @a view<shape = [64], plus = 1.0> : tensor<64xf32>
  // CHECK: mk.weight @b view<shape = [64, 96], transposed = true> : tensor<96x64xbf16>
  %1 = mk.weight @b view<shape = [64, 96], transposed = true> : tensor<96x64xbf16>
  // CHECK: mk.weight @c view<shape = [96, 64], offset = 16, sizes = [2, 16], strides = [48, 1]> : tensor<32x64xf32>
  %2 = mk.weight @c view<shape = [96, 64], offset = 16, sizes = [2, 16], strides = [48, 1]> : tensor<32x64xf32>
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{'mk.weight' op expected a result of 96, 64 as its view has, found 'tensor<64x96xf32>'}}
  %0 = mk.weight @b view<shape = [64, 96], transposed = true> : tensor<64x96xf32>
  return
}

// -----

// expected-error @+1 {{expected rows of the 96 there are, found 17 .. 96}}
func.func private @f() attributes {v = #mk.view<shape = [96, 64], offset = 17, sizes = [2, 32], strides = [48, 1]>}

// -----

// expected-error @+1 {{expected shape, transposed, offset, sizes, strides, plus or flat, found minus}}
func.func private @f() attributes {v = #mk.view<shape = [96, 64], minus = 1.0>}
