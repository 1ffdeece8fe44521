// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests the wait for a predicate: relaxed loads of its word in the copy of the step until no lane finds all ones, or one has
// looked for too long; then the same answer in all lanes, of all bits but the sign, or -1.

// CHECK-LABEL: func.func @ask
func.func @ask(%context: !mk_cta.context, %place: index, %step: index, %n: index, %flag: memref<1xi32, 3>) -> i32 {
  // CHECK: arith.muli %{{.*}}, %c64
  // CHECK: arith.remui %{{.*}}, %c2_i32
  // CHECK: arith.select
  // CHECK: "ld.relaxed.gpu.global.u32 $0, [$1];", "=r,l,~{memory}"
  // CHECK: scf.while
  // CHECK: arith.cmpi eq, %{{.*}}, %c-1_i32
  // CHECK: nvvm.vote.ballot.sync
  // CHECK: "mov.u64 $0, %globaltimer;"
  // CHECK: "ld.relaxed.gpu.global.u32 $0, [$1];", "=r,l,~{memory}"
  // CHECK: arith.andi %{{.*}}, %c2147483647_i32
  // CHECK: nvvm.vote.ballot.sync
  // CHECK: arith.cmpi eq, %{{.*}}, %c-1_i32
  // CHECK: nvvm.vote.ballot.sync
  // CHECK: arith.select %{{.*}}, %c-1_i32
  %side = mk_cta.await_predicate %place of %step in %context, %n, %n, %flag : memref<1xi32, 3>
  return %side : i32
}
