// Tests that attention with a window has only the ranges that a window can meet, and that a window which no context outgrows
// is none: max_length is 96, of which 3 ranges of 32 positions, or 2 of a window of 20, exist. Sinks go to the join.
// RUN: mk-opt %s --mk-split-attention | FileCheck %s
!cache = !mk.cache<2x16xbf16>
!i = tensor<?xi32>

module attributes {mk.options = #mk.options<max_length = 96, page = 16, split = 32>} {
// CHECK-LABEL: @step
// CHECK-SAME: %[[S:[a-z0-9]*]]: tensor<4xf32>
func.func @step(%q: tensor<?x64xf32>, %c: !cache, %p: !i, %s: tensor<4xf32>) {
  // CHECK: mk.attend {{.*}} {scale = 2.500000e-01 : f64, softcap = 3.000000e+01 : f64, split = 32 : i64, splits = 2 : i64, window = 20 : i64}
  // CHECK-SAME: -> tensor<?x144xf32>
  // CHECK-NEXT: mk.combine {{.*}}, %[[S]] {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64, window = 20 : i64}
  %a = mk.attention %q, %c, %p, %p, %s {scale = 0.25 : f64, softcap = 30.0 : f64, window = 20 : i64} : (tensor<?x64xf32>, !cache, !i, !i, tensor<4xf32>) -> tensor<?x64xf32>
  // A window of 33 meets two ranges wherever it begins, one of 34 may meet three.
  // CHECK: mk.attend {{.*}} splits = 2 : i64, window = 33 : i64}
  // CHECK: mk.attend {{.*}} splits = 3 : i64, window = 34 : i64}
  %b = mk.attention %q, %c, %p, %p {scale = 0.25 : f64, window = 33 : i64} : (tensor<?x64xf32>, !cache, !i, !i) -> tensor<?x64xf32>
  %d = mk.attention %q, %c, %p, %p {scale = 0.25 : f64, window = 34 : i64} : (tensor<?x64xf32>, !cache, !i, !i) -> tensor<?x64xf32>
  // CHECK: mk.attend {{.*}} splits = 3 : i64, window = 95 : i64}
  %e = mk.attention %q, %c, %p, %p {scale = 0.25 : f64, window = 95 : i64} : (tensor<?x64xf32>, !cache, !i, !i) -> tensor<?x64xf32>
  // CHECK: mk.attend {{.*}} {scale = 2.500000e-01 : f64, split = 32 : i64, splits = 3 : i64}
  // CHECK-NEXT: mk.combine {{.*}} {head_dim = 16 : i64, split = 32 : i64, splits = 3 : i64}
  %f = mk.attention %q, %c, %p, %p {scale = 0.25 : f64, window = 96 : i64} : (tensor<?x64xf32>, !cache, !i, !i) -> tensor<?x64xf32>
  return
}
}
