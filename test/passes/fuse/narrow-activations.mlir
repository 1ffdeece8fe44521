// Tests that what only bfloat16 linears, or attention over such a cache, read is produced in bfloat16, but not if a prologue or
// anything else reads it in float32.
// RUN: mk-opt %s --mk-narrow-activations | FileCheck %s
!x = tensor<?x64xf32>
!b = tensor<64x64xbf16>
!g = tensor<64xf32>

// CHECK-LABEL: @narrow
func.func @narrow(%x: !x, %w: !b) -> !x {
  // CHECK: %[[S:.*]] = mk.silu %{{.*}} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // CHECK: %[[H:.*]] = mk.linear %[[S]], {{.*}} -> tensor<?x64xbf16> epilogue {
  // CHECK: %[[A:.*]] = mk.add {{.*}} -> tensor<?x64xbf16>
  // CHECK-NEXT: mk.yield %[[A]] : tensor<?x64xbf16>
  // CHECK: mk.linear %[[H]], {{.*}} -> tensor<?x64xf32>
  %s = mk.silu %x : (!x) -> !x
  %h = mk.linear %s, [%w] : (!x, !b) -> !x epilogue {
  ^bb0(%acc: !x):
    %a = mk.add %acc, %x : (!x, !x) -> !x
    mk.yield %a : !x
  }
  %y = mk.linear %h, [%w] : (!x, !b) -> !x
  return %y : !x
}

// CHECK-LABEL: @query
func.func @query(%x: !x, %c: !mk.cache<2x16xbf16>, %f: !mk.cache<2x16xf32>, %i: tensor<?xi32>) -> (tensor<?x72xf32>, tensor<?x72xf32>) {
  // CHECK: mk.silu {{.*}} -> tensor<?x64xbf16>
  %q = mk.silu %x : (!x) -> !x
  %y = mk.attend %q, %c, %i, %i {scale = 0.25 : f64, split = 32 : i64, splits = 1 : i64} : (!x, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x72xf32>
  // CHECK: mk.silu {{.*}} -> tensor<?x64xf32>
  %r = mk.silu %x : (!x) -> !x
  %z = mk.attend %r, %f, %i, %i {scale = 0.25 : f64, split = 32 : i64, splits = 1 : i64} : (!x, !mk.cache<2x16xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x72xf32>
  return %y, %z : tensor<?x72xf32>, tensor<?x72xf32>
}

// CHECK-LABEL: @keep
// CHECK-NOT: -> tensor<?x64xbf16>
// CHECK: return
func.func @keep(%x: !x, %w: !b, %f: tensor<64x64xf32>, %g: !g) -> (!x, !x, !x, !x) {
  %wide = mk.silu %x : (!x) -> !x
  %0 = mk.linear %wide, [%f] : (!x, tensor<64x64xf32>) -> !x
  %returned = mk.silu %x : (!x) -> !x
  %1 = mk.linear %returned, [%w] : (!x, !b) -> !x
  %normed = mk.silu %x : (!x) -> !x
  %2 = mk.linear %normed, [%w] : (!x, !b) -> !x prologue {
  ^bb0(%row: !x):
    %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
    mk.yield %n : !x
  }
  return %0, %1, %returned, %2 : !x, !x, !x, !x
}
