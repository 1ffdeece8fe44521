// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that with a window pages are read from the first that a token of the run sees, that what a row does not see weighs
// nothing, and that a range is stored by its number among those of the row's token, if it is one of them. Capped scores
// pass through tanh, which is one exponential.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.buffer @slots request domain(tokens) offset(576) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<2x16xf32>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x144xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(1) {
  ^bb0(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>):
    %y = mk.attend %q, %c, %p, %s {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64, window = 20 : i64, softcap = 0.5 : f64}
      : (tensor<?x64xf32>, !mk.cache<2x16xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    mk.yield %y : tensor<?x144xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots] -> [@y]
}
}
// CHECK-LABEL: func.func private @attend
// The run's first token says which range is the item's, and which page is the first.
// CHECK: %[[BEGIN:.*]] = arith.maxsi %{{.*}}, %c0 : index
// CHECK-NEXT: arith.divui %[[BEGIN]], %c32 : index
// CHECK: %[[FROM:.*]] = arith.maxsi %{{.*}}, %[[BEGIN]] : index
// CHECK: %[[FIRST:.*]] = arith.divui %[[FROM]], %c16 : index
// CHECK: scf.for %{{.*}} = %[[FIRST]] to
// CHECK: %[[SEEN:.*]] = vector.create_mask
// CHECK: %[[PAST:.*]] = vector.create_mask
// CHECK: %[[EXISTS:.*]] = arith.xori %[[SEEN]], %[[PAST]]
// CHECK: arith.divf
// CHECK: arith.select %[[EXISTS]], %{{.*}}, %{{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: arith.select %[[EXISTS]], %{{.*}}, %{{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: %[[HAS:.*]] = arith.cmpi ule
// CHECK-NEXT: scf.if %[[HAS]]
