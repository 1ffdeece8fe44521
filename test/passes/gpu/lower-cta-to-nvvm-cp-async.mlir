// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests that a target without bulk copies fills the ring by cp.async: each lane every 32nd piece of a tile, or its own part of
// a block, and then its arrival, so a full barrier has 32; no fence of the proxies, and no instruction of sm_90.

// CHECK-LABEL: func.func @ring
// CHECK-NOT: {{bulk|expect_tx|fence|try_wait}}
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_80", workers = 2, lanes = 2, bandwidth = 1935, shared = 166912, in_flight = 32768, bulk_copy = 0, set_registers = 0>} {
func.func @ring(%context: !mk_cta.context, %slot: index, %parity: i32, %bytes: i32, %full: memref<1xi64, 3>, %over: memref<1xi32, 3>) {
  %empty = mk_cta.shared 8 : memref<1xi64, 3>
  %ring = mk_cta.shared 1024 : memref<1x4096xi32, 3>
  // CHECK: "mbarrier.init.shared::cta.b64 [$0], $1;", {{.*}} %{{.*}}, %c32_i32
  // CHECK: "mbarrier.init.shared::cta.b64 [$0], $1;", {{.*}} %{{.*}}, %c8_i32
  mk_cta.ring_init %full, %empty {consumers = 8 : i64} : memref<1xi64, 3>, memref<1xi64, 3>
  // CHECK: mbarrier.test_wait.parity.shared::cta.b64 done, [$1], $2; @done bra out;
  %free = mk_cta.ring_await empty %empty[%slot], %parity in %context, %slot, %slot, %over : memref<1xi64, 3>, memref<1xi32, 3>
  // CHECK: %[[FIRST:.*]] = arith.muli %{{.*}}, %c16_i32 : i32
  // CHECK: scf.for %{{.*}} = %[[FIRST]] to %{{.*}} step %c512_i32
  // CHECK: createpolicy.fractional.L2::evict_first{{.*}} cp.async.cg.shared.global.L2::cache_hint [$0], [$1], 16, policy;
  // CHECK: "cp.async.mbarrier.arrive.noinc.shared.b64 [$0];"
  mk_cta.ring_fill %ring[%slot], %full, %context, "stream", %slot, %bytes : memref<1x4096xi32, 3>, memref<1xi64, 3>
  mk_cta.proxy_fence global
  // CHECK: scf.for %{{.*}} = %c0_i32 to %{{.*}} step %c16_i32
  // CHECK: "cp.async.cg.shared.global [$0], [$1], 16;"
  mk_cta.ring_copy %ring[%slot], %slot, %full, %context, "kv", %slot, %bytes : memref<1x4096xi32, 3>, memref<1xi64, 3>
  // CHECK: "cp.async.mbarrier.arrive.noinc.shared.b64 [$0];"
  mk_cta.ring_announce %full[%slot], %bytes : memref<1xi64, 3>
  mk_cta.proxy_fence shared
  // CHECK: return
  return
}
}
