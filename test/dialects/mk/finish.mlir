// Tests that mk.finish reads the results of a step and is not removed although it has none, and that it needs some.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @finish
func.func @finish(%y: tensor<?x4xf32>, %z: tensor<?x8xf32>) {
  // CHECK: mk.finish %{{.*}}, %{{.*}} : tensor<?x4xf32>, tensor<?x8xf32>
  mk.finish %y, %z : tensor<?x4xf32>, tensor<?x8xf32>
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{'mk.finish' op expected at least one result of the step}}
  "mk.finish"() : () -> ()
  return
}
