// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests that the ring is made of mbarriers and bulk copies: one arrival and the bytes for a full slot, one arrival of each
// consumer warp for an empty one; that a first look in vain leads to a clock and a flag to leave, and no other.

// CHECK-LABEL: func.func @ring
func.func @ring(%context: !mk_cta.context, %slot: index, %parity: i32, %bytes: i32, %over: memref<1xi32, 3>) -> i1 {
  %full = mk_cta.shared 0 : memref<1xi64, 3>
  %empty = mk_cta.shared 8 : memref<1xi64, 3>
  %quit = mk_cta.shared 1000 : memref<1xi32, 3>
  %ring = mk_cta.shared 1024 : memref<1x4096xi32, 3>
  // CHECK: "mbarrier.init.shared::cta.b64 [$0], $1;", {{.*}} %{{.*}}, %c1_i32
  // CHECK: "mbarrier.init.shared::cta.b64 [$0], $1;", {{.*}} %{{.*}}, %c8_i32
  // CHECK: "fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;"
  mk_cta.ring_init %full, %empty {consumers = 8 : i64} : memref<1xi64, 3>, memref<1xi64, 3>
  // CHECK: %[[DONE:.*]] = llvm.inline_asm {{.*}}mbarrier.try_wait.parity.shared::cta.b64 done, [$1], $2; @done bra out; mov.u64 begin, %globaltimer; again: mbarrier.try_wait{{.*}}ld.volatile.shared.u32 word, [$3];
  // CHECK: arith.cmpi ne, %[[DONE]]
  %free = mk_cta.ring_await empty %empty[%slot], %parity in %context, %slot, %slot, %over quit %quit : memref<1xi64, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  // CHECK: createpolicy.fractional.L2::evict_first.b64 policy, 1.0;
  // CHECK-SAME: @one mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $3;
  // CHECK-SAME: @one cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [$1], [$2], $3, [$0], policy;
  mk_cta.ring_fill %ring[%slot], %full, %context, "stream", %slot, %bytes : memref<1x4096xi32, 3>, memref<1xi64, 3>
  // Without a flag only the clock ends it; then one thread writes the worker's line, and event -5 stands for the wait.
  // CHECK: mbarrier.try_wait.parity.shared::cta.b64 done, [$1], $2; @done bra out; mov.u64 now, %globaltimer;
  // CHECK-SAME: atom.relaxed.cta.shared.exch.b32 word, [$4], 1;{{.*}}st.volatile.global.v2.u32 [line+8], {$7, 0};
  // CHECK-SAME: %c-5_i32
  %landed = mk_cta.ring_await landed %full[%slot], %parity in %context, %slot, %slot, %over : memref<1xi64, 3>, memref<1xi32, 3>
  // The consumers' wait for a slot has no clock: the flag of the CTA ends it.
  // CHECK: spin: mbarrier.try_wait{{.*}}ld.volatile.shared.u32 word, [$3]; setp.ne.u32 leave, word, 0; @leave bra out; bra spin; out:
  %there = mk_cta.ring_await full %full[%slot], %parity in %context, %slot, %slot, %over quit %over : memref<1xi64, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  // CHECK: ld.shared.v4.u32 {$0, $1, $2, $3}, [$4];
  %words = mk_cta.fragment %ring[%slot], %slot : memref<1x4096xi32, 3> -> vector<4xi32>
  %word = vector.extract %words[0] : i32 from vector<4xi32>
  // The address of the arrival depends on what was read.
  // CHECK: %[[SIZE:.*]] = nvvm.read.ptx.sreg.nctaid.z
  // CHECK: %[[ZERO:.*]] = arith.addi %[[SIZE]], %c-1_i32
  // CHECK: %[[BITS:.*]] = arith.andi %{{.*}}, %[[ZERO]]
  // CHECK: %[[PLACE:.*]] = arith.addi %{{.*}}, %[[BITS]]
  // CHECK: nvvm.bar.warp.sync
  // CHECK: setp.eq.u32 one, $1, 0; @one mbarrier.arrive.shared::cta.b64 _, [$0]; }", {{.*}} %[[PLACE]],
  mk_cta.ring_release %empty[%slot] after %word : memref<1xi64, 3>, i32
  return %free : i1
}
