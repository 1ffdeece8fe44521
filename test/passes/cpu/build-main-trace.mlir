// RUN: mk-opt %s --mk-build-main=trace=true --canonicalize --cse | FileCheck %s
// RUN: mk-opt %s --mk-build-main --canonicalize --cse | FileCheck %s --check-prefix=PLAIN

// Tests that with `trace` the four times of an instruction lie around its waits, its body and its signal, in a line of the
// step at hand; and that without it nothing is noted.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @first(!mk_cta.context, !mk_cta.instruction, index)
  mk_task.program @step {
    mk_task.table counts [0] kinds [@first] families [] events [] words dense<-1> : tensor<1x1x32xi32>
  }
}
// CHECK: func.func @mk_main(%[[C:.*]]: !mk_cta.context
// CHECK: scf.while (%[[S:.*]] = %{{.*}}, %{{.*}} = %{{.*}}) : (index, i1)
// CHECK: ^bb0(%[[STEP:.*]]: index):
// CHECK: ^bb0(%[[NUMBER:.*]]: index):
// CHECK: %[[LINE:.*]] = mk_cta.trace_line %[[C]], %{{.*}}, %[[STEP]], %[[NUMBER]]
// CHECK-NEXT: mk_cta.stamp %[[LINE]] {which = 0 : i64}
// CHECK-COUNT-3: mk_cta.wait
// CHECK: mk_cta.stamp %[[LINE]] {which = 1 : i64}
// CHECK: scf.index_switch
// CHECK: call @first(
// CHECK: mk_cta.stamp %[[LINE]] {which = 2 : i64}
// CHECK: mk_cta.signal
// CHECK: mk_cta.stamp %[[LINE]] {which = 3 : i64}
// CHECK-NOT: mk_cta.stamp
// PLAIN: @mk_main
// PLAIN-NOT: {{mk_cta.trace_line|mk_cta.stamp}}
