// RUN: mk-opt %s --mk-lower-cta-to-llvm --canonicalize --cse | FileCheck %s

// Tests the only places where memory is ordered between workers, and what a wait does meanwhile.
module attributes {mk.target = #mk.target<kind = "cpu", features = "avx2,fma", workers = 2, lanes = 8, bandwidth = 30>} {

// A wait loads with acquire, gives the core a pause, and after 4096 turns calls the hook of the context (word 13) with the
// worker and the event.
// CHECK-LABEL: func.func @wait
// CHECK-SAME: %[[C:.*]]: !llvm.ptr, %[[WORKER:.*]]: index, %[[EVENT:.*]]: index, %[[TARGET:.*]]: index)
// CHECK: %[[WANTED:.*]] = arith.index_cast %[[TARGET]] : index to i64
// CHECK: scf.while
// CHECK: %[[NOW:.*]] = llvm.load %{{.*}} atomic acquire {alignment = 8 : i64} : !llvm.ptr -> i64
// CHECK: arith.cmpi ult, %[[NOW]], %[[WANTED]]
// CHECK: llvm.call_intrinsic "llvm.x86.sse2.pause"()
// CHECK: arith.cmpi uge, %{{.*}}, %c4096
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[C]][104]
// CHECK: %[[HOOK:.*]] = llvm.load %[[PLACE]]
// CHECK-DAG: %[[W:.*]] = arith.index_cast %[[WORKER]] : index to i32
// CHECK-DAG: %[[E:.*]] = arith.index_cast %[[EVENT]] : index to i32
// CHECK: llvm.call %[[HOOK]](%[[C]], %[[W]], %[[E]])
func.func @wait(%context: !mk_cta.context, %worker: index, %event: index, %target: index) {
  mk_cta.wait %context, %worker, %event, %target
  return
}

// A signal and the end of a step add one with release, a post stores with release.
// CHECK-LABEL: func.func @release
// CHECK: llvm.atomicrmw add %{{.*}}, %{{.*}} release : !llvm.ptr, i64
// CHECK: llvm.store %{{.*}}, %{{.*}} atomic release {alignment = 8 : i64} : i64, !llvm.ptr
// CHECK: llvm.atomicrmw add %{{.*}}, %{{.*}} release : !llvm.ptr, i64
// CHECK-NOT: acquire
func.func @release(%context: !mk_cta.context, %n: index, %mailbox: memref<1xi64>, %count: i64) {
  mk_cta.signal %context, %n
  mk_cta.post %mailbox[%n], %count : memref<1xi64>
  mk_cta.publish_step %context
  return
}
}
