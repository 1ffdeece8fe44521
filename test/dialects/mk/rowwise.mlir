// Tests that the body of mk.rowwise has an argument for each input and yields the results, by row-wise mk ops.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @rowwise
func.func @rowwise(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // CHECK: mk.rowwise %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?x32xf32>) -> (tensor<?x32xf32>, tensor<?x64xf32>) {
  // CHECK-NEXT: ^bb0(%[[A:.*]]: tensor<?x64xf32>, %[[B:.*]]: tensor<?x32xf32>):
  // CHECK-NEXT: %[[S:.*]] = mk.silu %[[A]]
  // CHECK-NEXT: mk.yield %[[B]], %[[S]] : tensor<?x32xf32>, tensor<?x64xf32>
  %0:2 = mk.rowwise %x, %y : (tensor<?x64xf32>, tensor<?x32xf32>) -> (tensor<?x32xf32>, tensor<?x64xf32>) {
  ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x32xf32>):
    %s = mk.silu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %b, %s : tensor<?x32xf32>, tensor<?x64xf32>
  }
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{'mk.rowwise' op expected at least one input}}
  mk.rowwise : () -> () {
    mk.yield
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // expected-error @+1 {{expected its body to have arguments of types ('tensor<?x64xf32>', 'tensor<?x32xf32>'), found ('tensor<?x64xf32>')}}
  %0 = mk.rowwise %x, %y : (tensor<?x64xf32>, tensor<?x32xf32>) -> tensor<?x64xf32> {
  ^bb0(%a: tensor<?x64xf32>):
    mk.yield %a : tensor<?x64xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{expected its body to yield the results ('tensor<?x32xf32>'), found ('tensor<?x64xf32>')}}
  %0 = mk.rowwise %x : (tensor<?x64xf32>) -> tensor<?x32xf32> {
  ^bb0(%a: tensor<?x64xf32>):
    mk.yield %a : tensor<?x64xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) {
  // expected-error @+1 {{expected its body to hold row-wise mk ops, found mk.linear}}
  %0 = mk.rowwise %x : (tensor<?x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%a: tensor<?x64xf32>):
    %y = mk.linear %a, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{expected its body to end in mk.yield}}
  %0 = mk.rowwise %x : (tensor<?x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%a: tensor<?x64xf32>):
    func.return %a : tensor<?x64xf32>
  }
  return
}
