// Tests that attention is cut at multiples of the split that the options ask for, the last range counted in full.
// RUN: mk-opt %s --split-input-file --verify-diagnostics --mk-split-attention | FileCheck %s
!cache = !mk.cache<2x16xbf16>

module attributes {mk.options = #mk.options<max_length = 48, page = 16, split = 32>} {
// CHECK-LABEL: @step
// CHECK-SAME: (%[[Q:.*]]: tensor<?x64xf32>, %[[C:.*]]: !mk.cache<2x16xbf16>, %[[P:.*]]: tensor<?xi32>, %[[S:.*]]: tensor<?xi32>)
func.func @step(%q: tensor<?x64xf32>, %c: !cache, %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[PARTS:.*]] = mk.attend %[[Q]], %[[C]], %[[P]], %[[S]] {scale = 2.500000e-01 : f64, split = 32 : i64, splits = 2 : i64}
  // CHECK-SAME: -> tensor<?x144xf32>
  // CHECK-NEXT: %[[Y:.*]] = mk.combine %[[PARTS]], %[[P]] {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64}
  // CHECK-NEXT: return %[[Y]]
  %y = mk.attention %q, %c, %p, %s {scale = 0.25 : f64} : (tensor<?x64xf32>, !cache, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
}

// -----

!cache = !mk.cache<2x16xbf16>
// expected-error @+1 {{'func.func' op expected the sizes of the program in the module attribute mk.options, found none}}
func.func @step(%q: tensor<?x64xf32>, %c: !cache, %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x64xf32> {
  %y = mk.attention %q, %c, %p, %s {scale = 0.25 : f64} : (tensor<?x64xf32>, !cache, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
