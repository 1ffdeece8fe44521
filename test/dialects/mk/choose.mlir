// Tests that mk.choose takes a predicate of one column and sides of one type, and mk.across_rows one of four ways.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @control
func.func @control(%p: tensor<?x1xf32>, %a: tensor<?x4xf32>, %b: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK: %[[M:.*]] = mk.across_rows %{{.*}} {how = "min"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %m = mk.across_rows %p {how = "min"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
  // CHECK: mk.choose %[[M]], %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = mk.choose %m, %a, %b : (tensor<?x1xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func @predicate(%p: tensor<?x2xf32>, %a: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{'mk.choose' op expected a predicate of one column, found 'tensor<?x2xf32>'}}
  %y = mk.choose %p, %a, %a : (tensor<?x2xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func @sides(%p: tensor<?x1xf32>, %a: tensor<?x4xf32>, %b: tensor<?x8xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{'mk.choose' op expected sides of 4 columns as its result, found 'tensor<?x8xf32>'}}
  %y = mk.choose %p, %a, %b : (tensor<?x1xf32>, tensor<?x4xf32>, tensor<?x8xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func @how(%p: tensor<?x1xf32>) -> tensor<?x1xf32> {
  // expected-error @+1 {{'mk.across_rows' op expected how to be sum, mean, max or min, found "median"}}
  %m = mk.across_rows %p {how = "median"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
  return %m : tensor<?x1xf32>
}
