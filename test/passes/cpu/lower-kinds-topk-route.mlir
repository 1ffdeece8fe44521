// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that experts are chosen one by one, the largest of those left, and only they have weights: with `normalize` no
// exponential of another one is computed.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @l domain(tokens) offset(0) : tensor<?x8xf32>
  mk_task.buffer @r domain(tokens) offset(1024) : tensor<?x8xf32>
  mk_task.kind @route class(serial) domain(tokens) units(1) {
  ^bb0(%l: tensor<?x8xf32>):
    %r = mk.topk_route %l {chosen = 2 : i64, normalize} : (tensor<?x8xf32>) -> tensor<?x8xf32>
    mk.yield %r : tensor<?x8xf32>
  }
  mk_task.kind @plain class(serial) domain(tokens) units(1) {
  ^bb0(%l: tensor<?x8xf32>):
    %r = mk.topk_route %l {chosen = 2 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
    mk.yield %r : tensor<?x8xf32>
  }
  mk_task.family @a kind(@route) [@l] -> [@r]
  mk_task.family @b kind(@plain) [@l] -> [@r]
}
}
// CHECK-LABEL: func.func private @route
// CHECK-DAG: %[[ALL:.*]] = arith.constant 8 : index
// CHECK-DAG: %[[CHOSEN:.*]] = arith.constant 2 : index
// CHECK: scf.for %{{.*}} to %[[ALL]]
// CHECK: scf.for %{{.*}} to %[[CHOSEN]]
// CHECK-NEXT: scf.for %{{.*}} to %[[ALL]]
// CHECK: arith.cmpf ogt
// CHECK-NOT: to %[[ALL]]
// CHECK-LABEL: func.func private @plain
// CHECK: arith.cmpf ogt
// CHECK: scf.for %{{.*}} to %c8{{.*}} iter_args
