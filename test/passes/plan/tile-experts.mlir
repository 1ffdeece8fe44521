// RUN: mk-opt %s --mk-tile | FileCheck %s

// Tests that a unit of a product with experts is a tile of one of them, whatever their number, with partners as its
// epilogue needs them.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    // CHECK: mk_task.kind @up class(experts) domain(tokens) units(3) segments
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 96, outer = 1, stride = 96, half = 48, partner = 48>]
    mk_task.kind @up class(experts) domain(tokens) {
    ^bb0(%x: tensor<?x16xf32>, %w: tensor<8x96x16xf32>, %r: tensor<?x8xf32>):
      %y = mk.moe_linear %x, %r, %w {chosen = 2 : i64} : (tensor<?x16xf32>, tensor<?x8xf32>, tensor<8x96x16xf32>) -> tensor<?x96xf32> epilogue {
      ^bb0(%acc: tensor<?x96xf32>):
        %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x96xf32>) -> tensor<?x48xf32>
        %u = mk.slice %acc {offset = 48 : i64} : (tensor<?x96xf32>) -> tensor<?x48xf32>
        %h = mk.glu %g, %u : (tensor<?x48xf32>, tensor<?x48xf32>) -> tensor<?x48xf32>
        mk.yield %h : tensor<?x48xf32>
      }
      mk.yield %y : tensor<?x96xf32>
    }
    // CHECK: mk_task.kind @down class(experts) domain(tokens) units(1) segments
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 16, outer = 1, stride = 32, half = 16, partner = 16>]
    mk_task.kind @down class(experts) domain(tokens) {
    ^bb0(%h: tensor<?x96xf32>, %w: tensor<8x16x48xf32>, %r: tensor<?x8xf32>):
      %y = mk.moe_combine %h, %r, %w {chosen = 2 : i64} : (tensor<?x96xf32>, tensor<?x8xf32>, tensor<8x16x48xf32>) -> tensor<?x16xf32>
      mk.yield %y : tensor<?x16xf32>
    }
  }
}
