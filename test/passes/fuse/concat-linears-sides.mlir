// Tests that linears of one side of an mk.choose become one, but not with those of the other side, nor with one that is
// always needed.
// RUN: mk-opt %s --mk-concat-linears | FileCheck %s
!x = tensor<?x64xf32>
!y = tensor<?x32xf32>
!p = tensor<?x1xf32>
!w = tensor<32x64xf32>

// CHECK-LABEL: @sides
// CHECK: mk.linear %[[X:.*]], [%{{[^,]*}}] : {{.*}} -> tensor<?x32xf32>
// CHECK: mk.across_rows
// CHECK: mk.linear %[[X]], [%{{.*}}, %{{.*}}] : {{.*}} -> tensor<?x64xf32>
// CHECK: mk.linear %[[X]], [%{{.*}}, %{{.*}}] : {{.*}} -> tensor<?x64xf32>
// CHECK-NOT: mk.linear
func.func @sides(%x: !x, %c: !p, %w: !w) -> (!y, !y) {
  %a = mk.linear %x, [%w] : (!x, !w) -> !y
  %t = mk.linear %x, [%w] : (!x, !w) -> !y
  %t1 = mk.linear %x, [%w] : (!x, !w) -> !y
  %o = mk.linear %x, [%w] : (!x, !w) -> !y
  %o1 = mk.linear %x, [%w] : (!x, !w) -> !y
  %taken = mk.add %t, %t1 : (!y, !y) -> !y
  %other = mk.mul %o, %o1 : (!y, !y) -> !y
  %p = mk.across_rows %c {how = "max"} : (!p) -> !p
  %r = mk.choose %p, %taken, %other : (!p, !y, !y) -> !y
  return %a, %r : !y, !y
}
