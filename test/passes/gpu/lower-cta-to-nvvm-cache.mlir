// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests what keys and values need in the ring: a slot that several copies fill, with one arrival that announces all their
// bytes; fences between the proxies of threads and of the copy engine; halves of the CTA that tell each other of steps; rows
// read across.

// CHECK-LABEL: func.func @cache
func.func @cache(%context: !mk_cta.context, %slot: index, %step: index, %bytes: i32) -> vector<4xi32> {
  %full = mk_cta.shared 0 : memref<2xi64, 3>
  %quit = mk_cta.shared 1000 : memref<1xi32, 3>
  %ready = mk_cta.shared 1012 : memref<1xi32, 3>
  %ring = mk_cta.shared 1024 : memref<2x4096xi32, 3>
  // CHECK: ld.acquire.cta.shared.u32 word, [$1]; sub.s32 word, word, $2; setp.gt.s32 done, word, 0; @done bra out;
  // CHECK-SAME: again: nanosleep.u32 20; ld.acquire.cta{{.*}} ld.volatile.shared.u32 word, [$3]; {{.*}} shl.b64 line, $4, 1;
  // CHECK-SAME: %c-6_i32
  %told = mk_cta.await_told begun %ready, %step in %context, %slot, %slot, %quit quit %quit : memref<1xi32, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  // CHECK: "fence.proxy.async.global;"
  mk_cta.proxy_fence global
  // CHECK: setp.eq.u32 one, $2, 0; @one mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;
  mk_cta.ring_announce %full[%slot], %bytes : memref<2xi64, 3>
  // CHECK: "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [$1], [$2], $3, [$0];"
  mk_cta.ring_copy %ring[%slot], %slot, %full, %context, "kv", %slot, %bytes : memref<2x4096xi32, 3>, memref<2xi64, 3>
  // CHECK: "fence.proxy.async.shared::cta;"
  mk_cta.proxy_fence shared
  // CHECK: "st.release.cta.shared.u32 [$0], $1;"
  mk_cta.tell %ready, %step : memref<1xi32, 3>
  // CHECK: "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {$0, $1, $2, $3}, [$4];"
  %words = mk_cta.transposed %ring[%slot], %slot : memref<2x4096xi32, 3> -> vector<4xi32>
  return %words : vector<4xi32>
}
