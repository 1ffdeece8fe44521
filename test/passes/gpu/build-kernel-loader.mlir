// RUN: mk-opt %s --mk-build-kernel --canonicalize --cse | FileCheck %s

// Tests the loader's half of the kernel: it walks the same table for as many steps as the request has at most, waits for
// free slots and for nothing that other CTAs do, copies the tiles of products only, and leaves when all that it has sent
// has landed. A tile of 512 columns is one copy of 4096 bytes, and a slot has four of them.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @linear(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  func.func private @silu(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  mk_task.program @step {
    mk_task.kind @linear class(tiles) domain(tokens) units(1) {
    ^bb0(%x: tensor<?x512xf32>, %w: tensor<4x512xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x512xf32>, tensor<4x512xbf16>) -> tensor<?x4xf32>
      mk.yield %y : tensor<?x4xf32>
    }
    mk_task.kind @silu class(columns) domain(tokens) units(1) {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    mk_task.table counts [0, 0] kinds [@linear, @silu] families [] events [] words dense<-1> : tensor<2x1x32xi32>
  }
}
// CHECK: func.func @mk_main(%[[C:.*]]: !mk_cta.context)
// CHECK: nvvm.setmaxregister decrease
// CHECK: arith.remui %{{.*}}, %c32
// CHECK-NOT: {{mk_cta.poll|mk_cta.wait|nvvm.barrier}}
// CHECK: mk_cta.field %{{.*}}, "stream"[0]
// CHECK: %[[KIND:.*]] = mk_cta.field %{{.*}}, "kind"[0]
// CHECK: scf.index_switch %[[KIND]]
// CHECK-NEXT: case 0 {
// CHECK-NEXT: scf.yield %c1, %c4096, %c4, %c0
// CHECK: case 1 {
// CHECK-NEXT: scf.yield %c0, %c0, %c1, %c0
// CHECK: mk_cta.ring_await landed %[[FULL:.*]][
// CHECK: mk_cta.ring_await empty %{{.*}}[%[[SLOT:.*]]], %{{.*}} quit %{{.*}}
// CHECK: mk_cta.ring_fill %{{.*}}[%[[SLOT]]], %[[FULL]], %[[C]], "stream",
// CHECK: scf.while
// CHECK: mk_cta.ring_await landed %[[FULL]][
// CHECK-NEXT: arith.addi
// CHECK: return
