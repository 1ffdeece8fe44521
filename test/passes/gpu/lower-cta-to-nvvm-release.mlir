// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests that a slot that may not exist is given back without a branch: no lane is number 32. Without a condition lane 0
// arrives.

// CHECK-LABEL: func.func @release
// CHECK-SAME: %[[EXISTS:[a-z0-9]*]]: i1
func.func @release(%slot: index, %exists: i1) {
  %empty = mk_cta.shared 8 : memref<4xi64, 3>
  // CHECK-NOT: scf.if
  // CHECK: nvvm.bar.warp.sync
  // CHECK: %[[LANE:.*]] = arith.select %[[EXISTS]], %[[FIRST:.*]], %c32_i32 : i32
  // CHECK: @one mbarrier.arrive.shared::cta.b64 _, [$0]; }", {{.*}}, %[[LANE]] :
  mk_cta.ring_release %empty[%slot] if %exists : memref<4xi64, 3>
  // CHECK: @one mbarrier.arrive.shared::cta.b64 _, [$0]; }", {{.*}}, %[[FIRST]] :
  mk_cta.ring_release %empty[%slot] : memref<4xi64, 3>
  return
}
