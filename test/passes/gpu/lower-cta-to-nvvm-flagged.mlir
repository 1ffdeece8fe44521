// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests that words of flagged buffers are read and written relaxed at the scope of the device; that all ones, which mean
// that nothing was written, are never written for a value; and that the wait for a word ends, with a line for the host.

// CHECK-LABEL: func.func @flagged
func.func @flagged(%context: !mk_cta.context, %n: index, %fours: memref<?x4xvector<4xi32>, strided<[4, 1]>, 1>,
                   %rows: memref<?x16xi32, strided<[16, 1]>, 1>, %word: i32, %flag: memref<1xi32, 3>, %begin: i64)
    -> (vector<4xi32>, i64, i1) {
  // A row of the first is 64 bytes, of which %n is one and a place of 16 bytes in it.
  // CHECK: arith.muli %{{.*}}, %c64
  // CHECK: arith.muli %{{.*}}, %c16
  // CHECK: "ld.relaxed.gpu.global.v4.u32 {$0, $1, $2, $3}, [$4];", "=r,=r,=r,=r,l,~{memory}"
  %words = mk_cta.load_flagged %fours[%n, %n] : memref<?x4xvector<4xi32>, strided<[4, 1]>, 1> -> vector<4xi32>
  // CHECK: %[[NONE:.*]] = arith.cmpi eq, %[[WORD:.*]], %c-1_i32
  // CHECK: %[[SAFE:.*]] = arith.select %[[NONE]], %c2147483647_i32, %[[WORD]]
  // CHECK: "st.relaxed.gpu.global.u32 [$0], $1;", "l,r,~{memory}" %{{.*}}, %[[SAFE]]
  mk_cta.store_flagged %word, %rows[%n, %n] : memref<?x16xi32, strided<[16, 1]>, 1>
  // CHECK: "st.relaxed.gpu.global.u32 [$0], $1;", "l,r,~{memory}" %{{.*}}, %c-1_i32
  mk_cta.clear_flagged %rows[%n, %n] : memref<?x16xi32, strided<[16, 1]>, 1>
  // CHECK: "mov.u64 $0, %globaltimer;"
  // CHECK: scf.if
  // CHECK: "{{.*}}st.release.sys.global.u64 [$0], 1;"
  // CHECK: "st.volatile.shared.u32 [$0], 1;"
  // CHECK: "ld.volatile.shared.u32 $0, [$1];"
  // CHECK-NOT: trap
  %since, %again = mk_cta.look_again %context, %n, %n, %flag, %begin : memref<1xi32, 3>
  return %words, %since, %again : vector<4xi32>, i64, i1
}
