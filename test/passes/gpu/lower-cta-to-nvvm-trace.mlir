// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests that a stamp is the device's clock, or the number that it is given; and that a timed wait which finds its phase
// completed reads no clock, while others are added up by thread 0.

// CHECK-LABEL: func.func @stamps
// CHECK-SAME: %[[LINE:.*]]: index, %[[VALUE:.*]]: i64)
func.func @stamps(%line: index, %value: i64) {
  // CHECK: %[[THIRD:.*]] = arith.addi %[[LINE]], %c24
  // CHECK: %[[PLACE:.*]] = arith.index_cast %[[THIRD]]
  // CHECK: "{ .reg .u64 now; mov.u64 now, %globaltimer; st.relaxed.gpu.global.u64 [$0], now; }", "l,~{memory}" %[[PLACE]]
  mk_cta.stamp %line {which = 3 : i64}
  // CHECK: %[[FOURTH:.*]] = arith.addi %[[LINE]], %c32
  // CHECK: %[[WIDE:.*]] = arith.index_cast %[[FOURTH]]
  // CHECK: %[[POINTER:.*]] = llvm.inttoptr %[[WIDE]] : i64 to !llvm.ptr<1>
  // CHECK: llvm.store %[[VALUE]], %[[POINTER]] : i64, !llvm.ptr<1>
  // CHECK-NOT: globaltimer
  mk_cta.stamp %line value %value {which = 4 : i64}
  return
}

// CHECK-LABEL: func.func @ring
// CHECK-SAME: %{{.*}}: !llvm.ptr, %{{.*}}: index, %[[PARITY:.*]]: i32)
func.func @ring(%context: !mk_cta.context, %slot: index, %parity: i32) {
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  %over = mk_cta.shared 1004 : memref<1xi32, 3>
  %sum = mk_cta.shared 1012 : memref<1xi32, 3>
  // CHECK: %[[THREAD:.*]] = nvvm.read.ptx.sreg.tid.x
  // CHECK: "{{.*}}mbarrier.test_wait.parity.shared::cta.b64 done, [$1], $2; @done bra out; mov.u64 begin, %globaltimer; spin: mbarrier.try_wait{{.*}}bra spin; came:{{.*}}setp.eq.u32 one, $4, 0; @one red.relaxed.cta.shared.add.u32 [$3], word; out: selp.u32 $0, 1, 0, done; }", "{{.*}}" %{{.*}}, %[[PARITY]], %{{.*}}, %[[THREAD]] :
  %landed = mk_cta.ring_await full %full[%slot], %parity in %context, %slot, %slot, %over timed %sum : memref<4xi64, 3>, memref<1xi32, 3> timed memref<1xi32, 3>
  return
}
