// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests that a stamp is the device's clock; that the first one of a line clears the sum of the ring's waits, 32 bytes behind
// it; and that a timed wait which finds its phase completed reads no clock, while others are added up by thread 0.

// CHECK-LABEL: func.func @stamps
// CHECK-SAME: %[[LINE:.*]]: index)
func.func @stamps(%line: index) {
  // CHECK: %[[SUM:.*]] = arith.addi %[[LINE]], %c32
  // CHECK: %[[WIDE:.*]] = arith.index_cast %[[SUM]]
  // CHECK: %[[PLACE:.*]] = llvm.inttoptr %[[WIDE]] : i64 to !llvm.ptr<1>
  // CHECK: llvm.store %c0_i64, %[[PLACE]] : i64, !llvm.ptr<1>
  // CHECK: "{ .reg .u64 now; mov.u64 now, %globaltimer; st.relaxed.gpu.global.u64 [$0], now; }"
  mk_cta.stamp %line {which = 0 : i64}
  // CHECK-NOT: llvm.store
  // CHECK: arith.addi %[[LINE]], %c24
  // CHECK: "{ .reg .u64 now; mov.u64 now, %globaltimer; st.relaxed.gpu.global.u64 [$0], now; }"
  mk_cta.stamp %line {which = 3 : i64}
  return
}

// CHECK-LABEL: func.func @ring
// CHECK-SAME: %{{.*}}: index, %[[PARITY:.*]]: i32, %[[LINE:.*]]: index)
func.func @ring(%slot: index, %parity: i32, %line: index) {
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  // CHECK: %[[THREAD:.*]] = nvvm.read.ptx.sreg.tid.x
  // CHECK: %[[SUM:.*]] = arith.addi %[[LINE]], %c32
  // CHECK-NEXT: %[[PLACE:.*]] = arith.index_cast %[[SUM]]
  // CHECK: "{{.*}}mbarrier.test_wait.parity.shared::cta.b64 done, [$0], $1; @done bra out; mov.u64 begin, %globaltimer; again: mbarrier.try_wait{{.*}}setp.eq.u32 one, $3, 0; @one red.relaxed.gpu.global.add.u64 [$2], end; out: }", "r,r,l,r,~{memory}" %{{.*}}, %[[PARITY]], %[[PLACE]], %[[THREAD]] :
  mk_cta.ring_await_timed %full[%slot], %parity, %line : memref<4xi64, 3>
  return
}
