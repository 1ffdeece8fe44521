// RUN: mk-opt %s --mk-time-ring | FileCheck %s

// Tests that the waits of a body for full slots are timed, all in one word of the CTA; not those of the loader, in the kernel,
// nor waits that end at a flag; and that a body without any is left alone.

// CHECK-LABEL: func.func private @product
// CHECK-SAME: (%[[PARITY:.*]]: i32)
// CHECK-NEXT: %[[SUM:.*]] = mk_cta.shared 1020 : memref<1xi32, 3>
// CHECK: scf.for
// CHECK: mk_cta.ring_await_timed %[[FULL:.*]][%{{.*}}], %[[PARITY]], %[[SUM]] : memref<4xi64, 3>, memref<1xi32, 3>
// CHECK: mk_cta.ring_await_timed %[[FULL]][%{{.*}}], %[[PARITY]], %[[SUM]] : memref<4xi64, 3>, memref<1xi32, 3>
// CHECK: %[[LANDED:.*]] = arith.constant true
// CHECK: mk_cta.ring_await %{{.*}} quit
// CHECK: return %[[LANDED]]
func.func private @product(%parity: i32) -> i1 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  %quit = mk_cta.shared 64 : memref<1xi32, 3>
  scf.for %slot = %c0 to %c4 step %c1 {
    %each = mk_cta.ring_await %full[%slot], %parity : memref<4xi64, 3>
  }
  %landed = mk_cta.ring_await %full[%c0], %parity : memref<4xi64, 3>
  %free = mk_cta.ring_await %full[%c0], %parity quit %quit : memref<4xi64, 3>, memref<1xi32, 3>
  return %landed : i1
}

// CHECK-LABEL: func.func private @other
// CHECK-NEXT: return
func.func private @other(%parity: i32) {
  return
}

// CHECK-LABEL: func.func @mk_main
// CHECK-NOT: {{1012|ring_await_timed}}
func.func @mk_main(%parity: i32) {
  %c0 = arith.constant 0 : index
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  %landed = mk_cta.ring_await %full[%c0], %parity : memref<4xi64, 3>
  return
}
