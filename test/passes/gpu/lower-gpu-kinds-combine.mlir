// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that the ranges of attention are joined where a product reads its rows: a thread joins the eight columns of its
// fragment, four ranges at a time, in ascending order; a residual, loaded before the tiles, is added to their sums.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.weight @w [@w] layout(tiles) : tensor<32x64xbf16>
  mk_task.buffer @x domain(tokens) order(ranges) offset(0) : tensor<?x272xf32>
  mk_task.buffer @r domain(tokens) order(fragments) offset(16384) : tensor<?x32xf32>
  mk_task.buffer @y domain(tokens) order(fragments) offset(32768) : tensor<?x32xf32>
  mk_task.kind @out class(tiles) domain(tokens) units(8) segments [#mk_task.segment<base = 0, limit = 32, outer = 8, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x272xf32>, %w: tensor<32x64xbf16>, %p: tensor<?xi32>, %r: tensor<?x32xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x272xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32> prologue {
    ^bb0(%a: tensor<?x272xf32>):
      %c = mk.combine %a, %p {head_dim = 32 : i64, split = 32 : i64, splits = 4 : i64} : (tensor<?x272xf32>, tensor<?xi32>) -> tensor<?x64xf32>
      mk.yield %c : tensor<?x64xf32>
    } epilogue {
    ^bb0(%acc: tensor<?x32xf32>):
      %s = mk.add %r, %acc : (tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %s : tensor<?x32xf32>
    }
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@out) [@x, @w, @positions, @r] -> [@y]
}
}
// CHECK-LABEL: func.func private @out
// Once for each of the two segments of a block, before the loop over tiles.
// CHECK-COUNT-2: scf.for %{{.*}} = %c0_i32 to %{{.*}} step %c4_i32 iter_args({{.*}}) -> (f32, f32, f32, f32, f32, f32, f32, f32, f32, f32)
// CHECK: scf.for
// CHECK-NOT: ex2
// CHECK: %[[R:.*]] = memref.load %{{.*}} : memref<?x32xf32
// CHECK: mk_cta.mma
// CHECK: nvvm.barrier
// CHECK: %[[SUM:.*]] = arith.addf %[[R]],
// CHECK: memref.store %[[SUM]], %{{.*}} : memref<?x32xf32
