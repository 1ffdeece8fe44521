// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that a unit of heads sums the squares of both halves first, one partial sum a lane, and then makes and stores the
// columns; a head of 24 fills one register and a half twice, so that the lanes beyond a half do not count.

module attributes {mk.target = #mk.target<kind = "cpu", features = "avx2", workers = 1, lanes = 8, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @g [@g] layout(rows) offset(0) : tensor<24xf32>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x48xf32>
  mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x48xf32>
  mk_task.kind @norm class(columns) domain(tokens) units(2)
    segments [#mk_task.segment<base = 0, limit = 48, outer = 2, stride = 24, half = 12, partner = 12, whole = true>] {
  ^bb0(%x: tensor<?x48xf32>, %g: tensor<24xf32>):
    %y = mk.head_norm %x, %g {head_dim = 24 : i64, eps = 1.0e-6 : f64} : (tensor<?x48xf32>, tensor<24xf32>) -> tensor<?x48xf32>
    mk.yield %y : tensor<?x48xf32>
  }
  mk_task.family @a kind(@norm) [@x, @g] -> [@y]
}
}
// CHECK-LABEL: func.func private @norm
// CHECK: %[[X:.*]] = mk_cta.view %{{.*}}, "activations", %{{.*}} : memref<?x48xf32
// CHECK: %[[G:.*]] = mk_cta.view %{{.*}}, "params", %{{.*}} : memref<?xf32
// CHECK: %[[Y:.*]] = mk_cta.view %{{.*}}, "activations", %{{.*}} : memref<?x48xf32
// CHECK: scf.for %[[ROW:.*]] = %c0
// CHECK: scf.for %[[HEAD:.*]] =
// CHECK: %[[SUM:.*]] = scf.for %{{.*}} = %c0 to %c12 step %c8 iter_args(%[[S:.*]] = %{{.*}}) -> (vector<8xf32>) {
// CHECK: %[[A:.*]] = vector.maskedload %[[X]][%[[ROW]],
// CHECK: %[[SA:.*]] = math.fma %[[A]], %[[A]], %[[S]]
// CHECK: %[[NEXT:.*]] = arith.select %{{.*}}, %[[SA]], %[[S]]
// CHECK: %[[B:.*]] = vector.maskedload %[[X]][%[[ROW]],
// CHECK: math.fma %[[B]], %[[B]], %[[NEXT]]
// CHECK: arith.divf %{{.*}}, %cst{{.*}} : f32
// CHECK: math.sqrt
// CHECK: scf.for %{{.*}} = %c0 to %c12 step %c8 {
// CHECK: vector.maskedload %[[G]]
// CHECK: vector.maskedstore %[[Y]]
// CHECK: vector.maskedstore %[[Y]]
