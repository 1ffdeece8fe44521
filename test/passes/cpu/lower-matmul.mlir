// RUN: mk-opt %s --mk-lower-matmul --canonicalize --cse | FileCheck %s

// Tests that one row takes four words of the tile a turn, in ascending order, and that every sum goes on from the one of
// the word before.
// CHECK-LABEL: func.func @one_row
// CHECK-SAME: %[[T:.*]]: memref<24x2x16xf32>, %[[R:.*]]: memref<?x24xf32>
// CHECK: scf.for %[[K:.*]] = %c0 to %c24 step %c4 iter_args(%[[A0:.*]] = %cst, %[[B0:.*]] = %cst)
// CHECK: %[[W0:.*]] = vector.load %[[T]][%[[K]], %c0, %c0]
// CHECK: %[[X0:.*]] = vector.load %[[R]][%{{.*}}, %[[K]]]
// CHECK: %[[A1:.*]] = mk_cta.dot %[[A0]], %[[W0]], %[[X0]]
// CHECK: %[[K1:.*]] = arith.addi %[[K]], %c1
// CHECK: %[[W1:.*]] = vector.load %[[T]][%[[K1]], %c0, %c0]
// CHECK: mk_cta.dot %[[A1]], %[[W1]]
// CHECK-COUNT-5: mk_cta.dot
// CHECK-NOT: mk_cta.dot
func.func @one_row(%tile: memref<24x2x16xf32>, %rows: memref<?x24xf32>, %n: index, %acc: memref<1x2x16xf32>) {
  mk_cta.matmul %tile, %rows[%n], %acc {count = 1 : i64} : memref<24x2x16xf32>, memref<?x24xf32>, memref<1x2x16xf32>
  return
}

// Tests that twelve rows keep 24 sums, share the two loads of a word, and take one word a turn.
// CHECK-LABEL: func.func @twelve_rows
// CHECK: scf.for %{{.*}} = %c0 to %c24 step %c1 iter_args
// CHECK-COUNT-2: vector.load %{{.*}} : memref<24x2x32xbf16>, vector<32xbf16>
// CHECK-NOT: memref<24x2x32xbf16>
// CHECK-COUNT-24: mk_cta.dot
// CHECK-NOT: mk_cta.dot
// CHECK-COUNT-24: vector.store
func.func @twelve_rows(%tile: memref<24x2x32xbf16>, %rows: memref<?x48xbf16>, %n: index, %acc: memref<12x2x16xf32>) {
  mk_cta.matmul %tile, %rows[%n], %acc {count = 12 : i64} : memref<24x2x32xbf16>, memref<?x48xbf16>, memref<12x2x16xf32>
  return
}

// Tests that a tile of an odd number of words is not unrolled.
// CHECK-LABEL: func.func @odd
// CHECK: scf.for %{{.*}} = %c0 to %c7 step %c1
func.func @odd(%tile: memref<7x2x16xf32>, %rows: memref<?x7xf32>, %n: index, %acc: memref<1x2x16xf32>) {
  mk_cta.matmul %tile, %rows[%n], %acc {count = 1 : i64} : memref<7x2x16xf32>, memref<?x7xf32>, memref<1x2x16xf32>
  return
}
