// Tests that the epilogue of mk.linear yields its results, computed by mk ops from the accumulators.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @epilogue
func.func @epilogue(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>) {
  // CHECK: mk.linear %{{.*}}, [%{{.*}}] : (tensor<?x64xf32>, tensor<96x64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>) epilogue {
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: tensor<?x96xf32>):
  // CHECK-NEXT: %[[Y:.*]] = mk.silu %[[ACC]]
  // CHECK-NEXT: mk.yield %[[ACC]], %[[Y]] : tensor<?x96xf32>, tensor<?x96xf32>
  %0:2 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>) epilogue {
  ^bb0(%acc: tensor<?x96xf32>):
    %y = mk.silu %acc : (tensor<?x96xf32>) -> tensor<?x96xf32>
    mk.yield %acc, %y : tensor<?x96xf32>, tensor<?x96xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected its epilogue to have one argument of type 'tensor<?x96xf32>', found ('tensor<?x64xf32>')}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> epilogue {
  ^bb0(%a: tensor<?x64xf32>):
    mk.yield %a : tensor<?x64xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected its epilogue to yield the results ('tensor<?x96xbf16>'), found ('tensor<?x96xf32>')}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xbf16> epilogue {
  ^bb0(%a: tensor<?x96xf32>):
    mk.yield %a : tensor<?x96xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected its epilogue to hold row-wise mk ops, found arith.constant}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> epilogue {
  ^bb0(%a: tensor<?x96xf32>):
    %c = arith.constant 0 : i32
    mk.yield %a : tensor<?x96xf32>
  }
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected its epilogue to end in mk.yield}}
  %0 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> epilogue {
  ^bb0(%a: tensor<?x96xf32>):
    func.return
  }
  return
}
