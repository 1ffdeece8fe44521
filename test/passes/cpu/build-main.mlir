// RUN: mk-opt %s --mk-build-main --canonicalize --cse | FileCheck %s

// Tests the loop of a worker: up to three waits for the arrivals of the steps so far (less the lag), the body of the kind
// (none for an instruction that only waits), a signal unless it is -1; after the list the end of the step, and only then
// the flag that says whether there is another.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @first(!mk_cta.context, !mk_cta.instruction, index)
  func.func private @second(!mk_cta.context, !mk_cta.instruction, index)
  mk_task.program @step {
    mk_task.table counts [0] kinds [@first, @second] families [] events [] words dense<-1> : tensor<1x1x32xi32>
  }
}
// CHECK-NOT: mk_task
// CHECK: func.func @mk_main(%[[C:.*]]: !mk_cta.context, %{{.*}}: i32)
// CHECK: %[[WORKER:.*]] = arith.index_cast
// CHECK: scf.while (%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) : (index, i1) -> index
// CHECK: %[[NEXT:.*]] = arith.addi
// CHECK: %[[I:.*]] = mk_cta.instruction %[[C]], %[[WORKER]], %[[N:.*]]{{$}}
// CHECK: %[[LAG:.*]] = mk_cta.field %{{.*}}, "wait_lag"[0]
// CHECK: %[[STEPS:.*]] = arith.subi %[[NEXT]], %[[LAG]]
// CHECK: %[[ARRIVALS:.*]] = mk_cta.field %{{.*}}, "wait_arrivals"[0]
// CHECK: %[[TARGET:.*]] = arith.muli %[[ARRIVALS]], %[[STEPS]]
// CHECK: mk_cta.wait %[[C]], %[[WORKER]], %{{.*}}, %[[TARGET]]
// CHECK-COUNT-2: mk_cta.wait
// CHECK-NOT: mk_cta.wait
// CHECK: scf.index_switch
// CHECK: case 0
// CHECK-NEXT: call @first(%[[C]], %{{.*}}, %[[WORKER]])
// CHECK: case 1
// CHECK-NEXT: call @second(
// CHECK: default {
// CHECK-NEXT: }
// CHECK: %[[SIGNAL:.*]] = mk_cta.field %{{.*}}, "signal"[0]
// CHECK: mk_cta.signal %[[C]], %[[SIGNAL]]
// CHECK: mk_cta.await_step %[[C]], %[[WORKER]], %[[NEXT]]
// CHECK-NEXT: memref.load
