// Tests that neighbouring columns are loaded, the same column of all lanes is read once, and any others are gathered; sums run
// in one loop whose lanes do not meet.
// RUN: mk-opt %s --mk-tile --mk-lower-kinds | FileCheck %s
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(2048) : tensor<?x16xf32>
    mk_task.kind @generic class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>):
      %y = mk.generic %x, %x, %x sizes [2, 8, 3] reduce 1 by "sum" maps [affine_map<(d0, d1, d2) -> (d0 * 8 + d1 + d2)>,
          affine_map<(d0, d1, d2) -> (d0 * 3 + d2)>, affine_map<(d0, d1, d2) -> (d1 * 8 + d2)>]
        : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x16xf32> {
      ^bb0(%a: f32, %b: f32, %c: f32):
        %p = arith.mulf %a, %b : f32
        %s = arith.addf %p, %c : f32
        mk.yield %s : f32
      }
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @f kind(@generic) [@x] -> [@y]
  }
}
// CHECK-LABEL: func.func private @generic
// CHECK: %[[SUM:.*]] = scf.for %{{.*}} = %c0{{.*}} to %c3{{.*}} step %{{.*}} iter_args(%[[ACC:.*]] = %{{.*}}) -> (vector<4xf32>)
// CHECK: %[[A:.*]] = vector.load
// CHECK: %[[B:.*]] = memref.load
// CHECK: %[[SPLAT:.*]] = vector.splat %[[B]]
// CHECK: %[[C:.*]] = vector.gather
// CHECK: %[[P:.*]] = arith.mulf %[[A]], %[[SPLAT]] : vector<4xf32>
// CHECK: %[[S:.*]] = arith.addf %[[P]], %[[C]] : vector<4xf32>
// CHECK: arith.addf %[[ACC]], %[[S]] : vector<4xf32>
// CHECK: vector.store %[[SUM]]
