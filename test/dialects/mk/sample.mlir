// Tests that mk.sample reads float32 logits and the greedy choice.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @sample
func.func @sample(%x: tensor<?x160xf32>, %g: tensor<?xi32>) {
  // CHECK: mk.sample %{{.*}}, %{{.*}} : (tensor<?x160xf32>, tensor<?xi32>) -> tensor<?xi32>
  %0 = mk.sample %x, %g : (tensor<?x160xf32>, tensor<?xi32>) -> tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x160xbf16>, %g: tensor<?xi32>) {
  // expected-error @+1 {{'mk.sample' op expected logits in f32, found 'tensor<?x160xbf16>'}}
  %0 = mk.sample %x, %g : (tensor<?x160xbf16>, tensor<?xi32>) -> tensor<?xi32>
  return
}
