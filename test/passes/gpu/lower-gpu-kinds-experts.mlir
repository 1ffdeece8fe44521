// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests the product of a mixture of experts: before all else it takes back last step's words, for each of a token's
// experts; one warp reads the words of the route and writes the list of the experts that any token has chosen; then every
// expert of that list is used, at a place of the stream that its number gives, and stores rows of whoever has it.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 131072, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<40x32x64xbf16>
  mk_task.buffer @x flagged domain(tokens) order(fragments) offset(0) : tensor<?x64xbf16>
  mk_task.buffer @r flagged domain(tokens) offset(2048) : tensor<?x40xf32>
  mk_task.buffer @y flagged domain(tokens) order(fragments) offset(4096) : tensor<?x96xbf16>
  // CHECK: func.func private @moe(
  // CHECK: mk_cta.clear_flagged
  // CHECK: mk_cta.load_flagged {{.*}} : memref<?x40xi32, strided<[48, 1]>, 1> -> i32
  // CHECK: nvvm.vote.ballot.sync
  // CHECK: mk_cta.look_again {{.*}} : memref<1xi32, 3>
  // CHECK: nvvm.vote.ballot.sync
  // CHECK: math.ctpop
  // CHECK: nvvm.barrier
  // CHECK: mk_cta.await_told passed
  // CHECK: memref.load %{{.*}} : memref<41xi32, 3>
  // CHECK: mk_cta.ring_holds
  // CHECK: mk_cta.ring_await full
  // CHECK: mk_cta.mma
  // CHECK: nvvm.barrier
  // CHECK: mk_cta.store_flagged {{.*}} : memref<?x48xi32, strided<[48, 1]>, 1>
  mk_task.kind @moe class(experts) domain(tokens) units(8) segments [#mk_task.segment<base = 0, limit = 32, outer = 8, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xbf16>, %w: tensor<40x32x64xbf16>, %r: tensor<?x40xf32>):
    %y = mk.moe_linear %x, %r, %w {chosen = 3 : i64} : (tensor<?x64xbf16>, tensor<?x40xf32>, tensor<40x32x64xbf16>) -> tensor<?x96xbf16>
    mk.yield %y : tensor<?x96xbf16>
  }
  mk_task.family @a kind(@moe) [@x, @w, @r] -> [@y]
}
}
