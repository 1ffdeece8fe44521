// Tests that a body runs only if the numbers of the instruction's conditions are as its bits say, that its signal does not
// ask, and that a program without conditions does not ask either.
// RUN: sed 's/COND/if [#mk_task.condition<buffer = @p, taken = true>]/' %s | mk-opt --mk-build-main --canonicalize --cse | FileCheck %s
// RUN: sed 's/COND//' %s | mk-opt --mk-build-main --canonicalize --cse | FileCheck %s --check-prefix=NEVER

// NEVER-NOT: "hints"
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @silu(!mk_cta.context, !mk_cta.instruction, index)
  mk_task.program @step {
    mk_task.buffer @p domain(tokens) : tensor<?x1xf32>
    mk_task.buffer @x domain(tokens) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) : tensor<?x16xf32>
    mk_task.kind @act class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x16xf32>):
      %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @f kind(@act) [@x] -> [@y] COND
    mk_task.table counts [0] kinds [@silu] families [@f] events [] words dense<-1> : tensor<1x1x32xi32>
  }
}
// CHECK: %[[HINTS:.*]] = mk_cta.field %{{.*}}, "hints"[0]
// CHECK: %[[HAS:.*]] = arith.cmpi ne, %{{.*}}, %c0_i32
// CHECK: %[[RUNS:.*]] = scf.if %[[HAS]] -> (i1) {
// CHECK: %[[WORD:.*]] = mk_cta.field %{{.*}}, "operand"[14]
// CHECK: %[[BYTES:.*]] = arith.muli %[[WORD]], %c64
// CHECK: mk_cta.view %{{.*}}, "activations", %[[BYTES]] : memref<1xf32
// CHECK: arith.cmpf une
// CHECK: arith.cmpi eq
// CHECK: } else {
// CHECK-NEXT: scf.yield %true
// CHECK: scf.if %[[RUNS]] {
// CHECK: scf.index_switch
// CHECK: call @silu
// CHECK: %[[SIGNAL:.*]] = mk_cta.field %{{.*}}, "signal"[0]
// CHECK: mk_cta.signal
