// RUN: mk-opt %s --mk-build-kernel=trace=true --canonicalize --cse | FileCheck %s
// RUN: mk-opt %s --mk-build-kernel --canonicalize --cse | FileCheck %s --check-prefix=PLAIN

// Tests that with `trace` one thread notes the four times of an instruction around its waits, its body and its signal, in a
// line of the step at hand, and what the body waited for the ring, which begins with nothing again; that the loader notes
// none; and that without it nobody does.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @first(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  mk_task.program @step {
    mk_task.kind @first class(columns) domain(tokens) units(1) {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    mk_task.table counts [0, 0] kinds [@first] families [] events [] words dense<-1> : tensor<2x1x32xi32>
  }
}
// CHECK: func.func @mk_main(%[[C:.*]]: !mk_cta.context)
// CHECK: %[[WORKER:.*]] = arith.index_cast
// CHECK: %[[TID:.*]] = nvvm.read.ptx.sreg.tid.x
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[TID]], %c0_i32
// CHECK: nvvm.setmaxregister increase
// CHECK: %[[LINE:.*]] = mk_cta.trace_line %[[C]], %[[WORKER]], %{{.*}}, %{{.*}}
// CHECK-NEXT: scf.if %[[FIRST]] {
// CHECK-NEXT: mk_cta.stamp %[[LINE]] {which = 0 : i64}
// CHECK: mk_cta.poll
// CHECK: mk_cta.stamp %[[LINE]] {which = 1 : i64}
// CHECK: call @first(
// CHECK: nvvm.barrier
// CHECK: mk_cta.stamp %[[LINE]] {which = 2 : i64}
// CHECK: mk_cta.arrive
// CHECK: mk_cta.stamp %[[LINE]] {which = 3 : i64}
// CHECK: %[[WAITED:.*]] = memref.load %[[WAIT:.*]][%c0] : memref<1xi32, 3>
// CHECK-NEXT: %[[WIDE:.*]] = arith.extui %[[WAITED]]
// CHECK-NEXT: mk_cta.stamp %[[LINE]] value %[[WIDE]] {which = 4 : i64}
// CHECK-NEXT: memref.store %c0_i32, %[[WAIT]][%c0]
// CHECK: nvvm.setmaxregister decrease
// CHECK-NOT: mk_cta.stamp
// PLAIN: @mk_main
// PLAIN-NOT: {{mk_cta.trace_line|mk_cta.stamp}}
