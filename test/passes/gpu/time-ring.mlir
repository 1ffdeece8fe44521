// RUN: mk-opt %s --mk-time-ring | FileCheck %s

// Tests that the waits of a body for full slots are timed, all in the line of its instruction; not those of the loader, in the
// kernel, nor waits that end at a flag; and that a body without any gets no line.

// CHECK-LABEL: func.func private @product
// CHECK-SAME: (%[[C:.*]]: !mk_cta.context, %{{.*}}: !mk_cta.instruction, %[[NUMBER:.*]]: index, %[[WORKER:.*]]: index, %[[STEP:.*]]: index, %[[PARITY:.*]]: i32)
// CHECK-NEXT: %[[LINE:.*]] = mk_cta.trace_line %[[C]], %[[WORKER]], %[[STEP]], %[[NUMBER]]
// CHECK: scf.for
// CHECK: mk_cta.ring_await_timed %[[FULL:.*]][%{{.*}}], %[[PARITY]], %[[LINE]] : memref<4xi64, 3>
// CHECK: mk_cta.ring_await_timed %[[FULL]][%{{.*}}], %[[PARITY]], %[[LINE]] : memref<4xi64, 3>
// CHECK: %[[LANDED:.*]] = arith.constant true
// CHECK: mk_cta.ring_await %{{.*}} quit
// CHECK: return %[[LANDED]]
func.func private @product(%context: !mk_cta.context, %i: !mk_cta.instruction, %number: index, %worker: index, %step: index, %parity: i32) -> i1 {
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
// CHECK-NOT: trace_line
func.func private @other(%context: !mk_cta.context, %i: !mk_cta.instruction, %number: index, %worker: index, %step: index, %parity: i32) {
  return
}

// CHECK-LABEL: func.func @mk_main
// CHECK-NOT: {{trace_line|ring_await_timed}}
func.func @mk_main(%context: !mk_cta.context, %parity: i32) {
  %c0 = arith.constant 0 : index
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  %landed = mk_cta.ring_await %full[%c0], %parity : memref<4xi64, 3>
  return
}
