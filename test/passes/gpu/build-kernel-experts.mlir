// RUN: mk-opt %s --mk-build-kernel --canonicalize --cse | FileCheck %s

// Tests the loader's part of a mixture of experts: when the step has begun it waits for the words of the route, longer than
// the consumers would, tells that it has read them, and copies the tiles of the experts of its list.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 131072, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @moe(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  mk_task.program @step {
    mk_task.weight @w [@w] layout(tiles) : tensor<40x32x64xbf16>
    mk_task.buffer @x flagged domain(tokens) order(fragments) offset(0) : tensor<?x64xbf16>
    mk_task.buffer @r flagged domain(tokens) offset(2048) : tensor<?x40xf32>
    mk_task.buffer @y flagged domain(tokens) order(fragments) offset(4096) : tensor<?x96xbf16>
    mk_task.kind @moe class(experts) domain(tokens) units(8) {
    ^bb0(%x: tensor<?x64xbf16>, %w: tensor<40x32x64xbf16>, %r: tensor<?x40xf32>):
      %y = mk.moe_linear %x, %r, %w {chosen = 3 : i64} : (tensor<?x64xbf16>, tensor<?x40xf32>, tensor<40x32x64xbf16>) -> tensor<?x96xbf16>
      mk.yield %y : tensor<?x96xbf16>
    }
    mk_task.family @a kind(@moe) [@x, @w, @r] -> [@y]
    mk_task.table counts [0, 0] kinds [@moe] families [@a] events [] words dense<-1> : tensor<2x1x32xi32>
  }
}
// CHECK: nvvm.setmaxregister decrease
// CHECK: mk_cta.field %{{.*}}, "operand"[2]
// CHECK: mk_cta.await_told begun
// CHECK: mk_cta.load_flagged {{.*}} : memref<?x40xi32, strided<[48, 1]>, 1> -> i32
// CHECK: mk_cta.look_again {{.*}} patient
// CHECK: memref.store %{{.*}} : memref<41xi32, 3>
// CHECK: mk_cta.tell
// CHECK: memref.load %{{.*}} : memref<41xi32, 3>
// CHECK: mk_cta.ring_holds
// CHECK: mk_cta.ring_fill
