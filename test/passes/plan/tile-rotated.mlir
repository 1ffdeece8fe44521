// RUN: mk-opt %s --mk-tile | FileCheck %s

// Tests that the rotated part of heads has its partners, and the rest of each head a segment of its own: behind both
// halves of the part, or behind each.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    // CHECK: mk_task.kind @part class(tiles)
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 40, outer = 2, stride = 32, half = 4, partner = 4>,
    // CHECK-SAME:  #mk_task.segment<base = 8, limit = 64, outer = 2, stride = 32, half = 12, partner = 12>]
    mk_task.kind @part class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %p: tensor<?xi32>, %f: tensor<4xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> epilogue {
      ^bb0(%acc: tensor<?x64xf32>):
        %r = mk.rope %acc, %p, %f {head_dim = 32 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x64xf32>
        mk.yield %r : tensor<?x64xf32>
      }
      mk.yield %y : tensor<?x64xf32>
    }
    // CHECK: mk_task.kind @apart class(columns)
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 52, outer = 2, stride = 32, half = 4, partner = 16>,
    // CHECK-SAME:  #mk_task.segment<base = 4, limit = 64, outer = 2, stride = 32, half = 12, partner = 16>]
    mk_task.kind @apart class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<4xf32>):
      %r = mk.rope %x, %p, %f {head_dim = 32 : i64, partner = 16 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x64xf32>
      mk.yield %r : tensor<?x64xf32>
    }
  }
}
