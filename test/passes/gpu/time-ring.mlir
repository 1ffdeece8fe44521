// RUN: mk-opt %s --mk-time-ring | FileCheck %s

// Tests that the waits of a body for full slots are timed, all in one word of the CTA; not those of the loader, in the kernel,
// nor waits for anything else; and that a body without any is left alone.

// CHECK-LABEL: func.func private @product
// CHECK-NEXT: %[[SUM:.*]] = mk_cta.shared 1020 : memref<1xi32, 3>
// CHECK: scf.for
// CHECK: mk_cta.ring_await full %[[FULL:.*]][%{{.*}}], %[[PARITY:.*]] in %{{.*}} timed %[[SUM]] :
// CHECK: %[[LANDED:.*]] = mk_cta.ring_await full %[[FULL]][%{{.*}}], %[[PARITY]] in %{{.*}} quit %{{.*}} timed %[[SUM]] :
// CHECK: mk_cta.ring_await empty
// CHECK-NOT: timed
// CHECK: return %[[LANDED]]
func.func private @product(%context: !mk_cta.context, %n: index, %parity: i32) -> i1 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  %over = mk_cta.shared 64 : memref<1xi32, 3>
  scf.for %slot = %c0 to %c4 step %c1 {
    %each = mk_cta.ring_await full %full[%slot], %parity in %context, %n, %n, %over : memref<4xi64, 3>, memref<1xi32, 3>
  }
  %landed = mk_cta.ring_await full %full[%c0], %parity in %context, %n, %n, %over quit %over : memref<4xi64, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  %free = mk_cta.ring_await empty %full[%c0], %parity in %context, %n, %n, %over : memref<4xi64, 3>, memref<1xi32, 3>
  return %landed : i1
}

// CHECK-LABEL: func.func private @other
// CHECK-NEXT: return
func.func private @other(%parity: i32) {
  return
}

// CHECK-LABEL: func.func @mk_main
// CHECK-NOT: {{1012|timed}}
func.func @mk_main(%context: !mk_cta.context, %n: index, %parity: i32, %over: memref<1xi32, 3>) {
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  %landed = mk_cta.ring_await full %full[%n], %parity in %context, %n, %n, %over : memref<4xi64, 3>, memref<1xi32, 3>
  return
}
