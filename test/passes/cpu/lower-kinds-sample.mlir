// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that a row is only searched for the threshold of a rule that its request sets: top_k below the vocabulary, then
// top_p below 1. The token is drawn from what both keep; a request with temperature 0 takes what it was given.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @logits domain(rows) offset(0) : tensor<?x160xf32>
  mk_task.buffer @greedy domain(rows) offset(8192) : tensor<?xi32>
  mk_task.buffer @next domain(rows) offset(12288) : tensor<?xi32>
  mk_task.kind @sample class(serial) domain(rows) units(1) {
  ^bb0(%l: tensor<?x160xf32>, %g: tensor<?xi32>):
    %t = mk.sample %l, %g : (tensor<?x160xf32>, tensor<?xi32>) -> tensor<?xi32>
    mk.yield %t : tensor<?xi32>
  }
  mk_task.family @a kind(@sample) [@logits, @greedy] -> [@next]
}
}
// CHECK-LABEL: func.func private @sample
// CHECK-DAG: %[[EVERYTHING:.*]] = arith.constant -2147483648 : i32
// CHECK-DAG: %[[HALVINGS:.*]] = arith.constant 32 : index
// CHECK: %[[HOT:.*]] = arith.cmpf ogt
// CHECK: scf.if %[[HOT]] {
// CHECK-NOT: to %[[HALVINGS]]
// CHECK: %[[FEWER:.*]] = arith.cmpi slt, %{{.*}}, %c160_i32
// CHECK: %[[LIMITED:.*]] = arith.andi %{{.*}}, %[[FEWER]]
// CHECK: %[[BY_COUNT:.*]] = scf.if %[[LIMITED]] -> (i32) {
// CHECK: scf.for %{{.*}} to %[[HALVINGS]]
// CHECK: } else {
// CHECK-NEXT: scf.yield %[[EVERYTHING]]
// CHECK: %[[PART:.*]] = arith.cmpf olt
// CHECK: %[[BY_MASS:.*]] = scf.if %[[PART]] -> (i32) {
// CHECK: scf.for %{{.*}} to %[[HALVINGS]]
// CHECK: } else {
// CHECK-NEXT: scf.yield %[[EVERYTHING]]
// CHECK: arith.maxsi %[[BY_COUNT]], %[[BY_MASS]]
// CHECK-NOT: to %[[HALVINGS]]
