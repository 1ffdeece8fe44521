// Tests that the prologue of mk.linear turns its input row, of any width, into one of K columns.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @prologue
func.func @prologue(%x: tensor<?x144xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // CHECK: mk.linear %{{.*}}, [%{{.*}}] : (tensor<?x144xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> prologue {
  // CHECK-NEXT: ^bb0(%[[ROW:.*]]: tensor<?x144xf32>):
  // CHECK-NEXT: %[[Y:.*]] = mk.combine %[[ROW]],
  // CHECK-NEXT: mk.yield %[[Y]] : tensor<?x64xf32>
  %0 = mk.linear %x, [%w] : (tensor<?x144xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> prologue {
  ^bb0(%row: tensor<?x144xf32>):
    %y = mk.combine %row, %p {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected its prologue to have one argument of type 'tensor<?x64xf32>', found ('tensor<?x32xf32>')}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> prologue {
  ^bb0(%r: tensor<?x32xf32>):
    mk.yield %x : tensor<?x64xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected its prologue to yield one tensor, found 0}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> prologue {
  ^bb0(%r: tensor<?x64xf32>):
    mk.yield
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected rows of 64 columns to meet the weights, found 'tensor<?x32xf32>'}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> prologue {
  ^bb0(%r: tensor<?x64xf32>):
    %s = mk.slice %r {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
    mk.yield %s : tensor<?x32xf32>
  }
  return
}
