// Tests that a function with inputs of its own ends with its results and draws no token, and that it returns rows only.
// RUN: mk-opt %s --split-input-file --verify-diagnostics --mk-add-sampler | FileCheck %s

// CHECK-LABEL: @step
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32> {mk.input, mk.name = "x"}
func.func @step(%x: tensor<?x4xf32> {mk.input, mk.name = "x"}) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %y = mk.silu %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %z = mk.add %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK-NOT: mk.argmax
  // CHECK: mk.finish %[[Y:.*]], %[[Z:.*]] : tensor<?x4xf32>, tensor<?x4xf32>
  // CHECK-NEXT: return %[[Y]], %[[Z]]
  return %y, %z : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// expected-error @+1 {{mk-add-sampler: expected @step to be one block that returns a tensor<?xDxf32> for each result, found ('tensor<?xi32>')}}
func.func @step(%x: tensor<?xi32> {mk.input, mk.name = "x"}) -> tensor<?xi32> {
  return %x : tensor<?xi32>
}
