// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that a kind without a product is a loop of all threads over the columns of its units, of all tokens; a row that is
// multiplied later is written in the order of fragments, one that is not as it is.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) order(fragments) offset(2048) : tensor<?x64xf32>
  mk_task.kind @silu class(columns) domain(tokens) units(16) segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>):
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  mk_task.family @a kind(@silu) [@x] -> [@y]
}
}
// CHECK-LABEL: func.func private @silu
// CHECK-SAME: index, %[[N:[a-z0-9]+]]: index, %{{[a-z0-9]+}}: index, %{{[a-z0-9]+}}: i32,
// CHECK: %[[THREAD:.*]] = mk_cta.thread
// CHECK: %[[UNITS:.*]] = arith.subi
// CHECK: %[[ROWS:.*]] = arith.index_cast %[[N]]
// CHECK: %[[ALL:.*]] = arith.muli %[[UNITS]], %[[ROWS]]
// CHECK: %[[COLUMNS:.*]] = arith.muli %[[ALL]], %c4_i32
// CHECK: %[[FROM:.*]] = arith.index_cast %[[THREAD]]
// CHECK: scf.for %{{.*}} = %[[FROM]] to %[[COLUMNS]] step %c256_i32
// Column c is read at c, and written at c / 32 * 32 + c % 2 + c / 2 % 4 * 8 + c / 8 % 4 * 2.
// CHECK: arith.addi %{{.*}}, %c2_i32
// CHECK: %[[C:.*]] = arith.index_cast
// CHECK: memref.load %{{.*}}[%[[ROW:.*]], %[[C]]]
// CHECK: %[[BASE:.*]] = arith.andi %[[C]], %c-32
// CHECK: %[[PLACE:.*]] = arith.addi
// CHECK: memref.store %{{.*}}, %{{.*}}[%[[ROW]], %{{.*}}] : memref<?x64xf32
