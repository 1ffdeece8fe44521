// RUN: mk-opt %s --mk-lower-cta-to-llvm --canonicalize --cse | FileCheck %s

// Tests where times go: into lines of 64 bytes, ((worker << n | step mod 2^n) * instructions + number), where the lowest six
// bits of the context's word 12 are n and the others the address.
module attributes {mk.target = #mk.target<kind = "cpu", features = "avx2,fma", workers = 2, lanes = 8, bandwidth = 30>} {

// CHECK-LABEL: func.func @times
// CHECK-SAME: %[[C:.*]]: !llvm.ptr, %[[WORKER:.*]]: index, %[[STEP:.*]]: index, %[[NUMBER:.*]]: index)
// CHECK: llvm.getelementptr %[[C]][96]
// CHECK: %[[WORD:.*]] = arith.index_cast %{{.*}} : i64 to index
// CHECK: %[[LOG:.*]] = arith.andi %[[WORD]], %c63
// CHECK: %[[KEPT:.*]] = arith.shli %c1, %[[LOG]]
// CHECK: %[[MASK:.*]] = arith.subi %[[KEPT]], %c1
// CHECK: %[[PLACE:.*]] = arith.andi %[[STEP]], %[[MASK]]
// CHECK: %[[FIRST:.*]] = arith.shli %[[WORKER]], %[[LOG]]
// CHECK: %[[LIST:.*]] = arith.addi %[[FIRST]], %[[PLACE]]
// CHECK: %[[LINES:.*]] = arith.muli %[[LIST]], %{{.*}}
// CHECK: %[[LINE:.*]] = arith.addi %[[LINES]], %[[NUMBER]]
// CHECK-DAG: %[[BASE:.*]] = arith.subi %[[WORD]], %[[LOG]]
// CHECK-DAG: %[[BYTES:.*]] = arith.muli %[[LINE]], %c64
// CHECK: %[[ADDRESS:.*]] = arith.addi %[[BASE]], %[[BYTES]]
// CHECK: %[[NOW:.*]] = llvm.call_intrinsic "llvm.readcyclecounter"() : () -> i64
// CHECK: %[[WHERE:.*]] = arith.addi %[[ADDRESS]], %c16
// CHECK: llvm.inttoptr
// CHECK: llvm.store %[[NOW]], %{{.*}} : i64, !llvm.ptr
func.func @times(%context: !mk_cta.context, %worker: index, %step: index, %number: index) {
  %line = mk_cta.trace_line %context, %worker, %step, %number
  mk_cta.stamp %line {which = 2 : i64}
  return
}
}
