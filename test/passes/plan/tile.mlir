// RUN: mk-opt %s --mk-tile | FileCheck %s

// Tests that the halves of a head (rope, 16 = 2 x 8 columns) and both inputs of a gate become partners, and that columns
// which nothing combines (the add) do not.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    // CHECK: mk_task.kind @rope class(tiles) domain(tokens) units(6) segments
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 64, outer = 4, stride = 16, half = 8, partner = 8>,
    // CHECK-SAME:  #mk_task.segment<base = 64, limit = 88, outer = 2, stride = 16, half = 8, partner = 8>]
    mk_task.kind @rope class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<88x64xf32>, %p: tensor<?xi32>, %f: tensor<8xf32>):
      %y:2 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<88x64xf32>) -> (tensor<?x64xf32>, tensor<?x24xf32>) epilogue {
      ^bb0(%acc: tensor<?x88xf32>):
        %q = mk.slice %acc {offset = 0 : i64} : (tensor<?x88xf32>) -> tensor<?x64xf32>
        %v = mk.slice %acc {offset = 64 : i64} : (tensor<?x88xf32>) -> tensor<?x24xf32>
        %r = mk.rope %q, %p, %f {head_dim = 16 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
        mk.yield %r, %v : tensor<?x64xf32>, tensor<?x24xf32>
      }
      mk.yield %y#0, %y#1 : tensor<?x64xf32>, tensor<?x24xf32>
    }
    // CHECK: mk_task.kind @glu class(tiles) domain(tokens) units(5)
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 80, outer = 1, stride = 80, half = 40, partner = 40>]
    mk_task.kind @glu class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<80x64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<80x64xf32>) -> tensor<?x40xf32> epilogue {
      ^bb0(%acc: tensor<?x80xf32>):
        %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x80xf32>) -> tensor<?x40xf32>
        %u = mk.slice %acc {offset = 40 : i64} : (tensor<?x80xf32>) -> tensor<?x40xf32>
        %s = mk.glu %g, %u : (tensor<?x40xf32>, tensor<?x40xf32>) -> tensor<?x40xf32>
        mk.yield %s : tensor<?x40xf32>
      }
      mk.yield %y : tensor<?x40xf32>
    }
    // CHECK: mk_task.kind @add class(columns) domain(tokens) units(2)
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 20, outer = 2, stride = 16, half = 8, partner = 8>]
    mk_task.kind @add class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x20xf32>):
      %y = mk.add %x, %x : (tensor<?x20xf32>, tensor<?x20xf32>) -> tensor<?x20xf32>
      mk.yield %y : tensor<?x20xf32>
    }
  }
}
