// Tests that a product of two halves stays out of the epilogue if the second one is needed alone, outside or inside of it.
// RUN: mk-opt %s --mk-fuse-slice --mk-fuse-residual --mk-fuse-glu | FileCheck %s
!x = tensor<?x64xf32>
!w = tensor<32x64xf32>
!y = tensor<?x32xf32>

// CHECK-LABEL: @returned
// CHECK: mk.yield
// CHECK-NEXT: }
// CHECK-NEXT: mk.mul
func.func @returned(%x: !x, %w: !w) -> (!y, !y) {
  %gu = mk.linear %x, [%w, %w] : (!x, !w, !w) -> !x
  %g = mk.slice %gu {offset = 0 : i64} : (!x) -> !y
  %u = mk.slice %gu {offset = 32 : i64} : (!x) -> !y
  %m = mk.mul %g, %u : (!y, !y) -> !y
  return %m, %u : !y, !y
}

// CHECK-LABEL: @inside
// CHECK: mk.silu
// CHECK: mk.yield
// CHECK-NEXT: }
// CHECK-NEXT: mk.mul
func.func @inside(%x: !x, %w: !w) -> (!y, !y) {
  %gu = mk.linear %x, [%w, %w] : (!x, !w, !w) -> !x
  %g = mk.slice %gu {offset = 0 : i64} : (!x) -> !y
  %u = mk.slice %gu {offset = 32 : i64} : (!x) -> !y
  %s = mk.silu %u : (!y) -> !y
  %m = mk.mul %g, %u : (!y, !y) -> !y
  return %m, %s : !y, !y
}
