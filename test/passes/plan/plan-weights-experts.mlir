// RUN: mk-opt %s --mk-plan-weights | FileCheck %s

// Tests that a worker's tiles of one expert lie side by side, those of the next expert behind them, and that each expert has
// the same segments on its own rows.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    // Tile 0 and 1 of expert 0, then of expert 1, are worker 0's; tile 2 of each is worker 1's.
    // CHECK: mk_task.program @step attributes {params = 0 : i64, stream = 12288 : i64}
    // CHECK: mk_task.weight @w
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 96, outer = 3, stride = 32, half = 16, partner = 16>,
    // CHECK-SAME:  #mk_task.segment<base = 96, limit = 192, outer = 3, stride = 32, half = 16, partner = 16>]
    // CHECK-SAME: tile_offsets [0, 32, 128, 64, 96, 160]
    mk_task.weight @w [@w] layout(tiles) : tensor<2x96x16xf32>
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @r domain(tokens) offset(1024) : tensor<?x2xf32>
    mk_task.buffer @y domain(tokens) offset(2048) : tensor<?x96xf32>
    mk_task.kind @moe class(experts) domain(tokens) units(3)
      segments [#mk_task.segment<base = 0, limit = 96, outer = 3, stride = 32, half = 16, partner = 16>] {
    ^bb0(%x: tensor<?x16xf32>, %w: tensor<2x96x16xf32>, %r: tensor<?x2xf32>):
      %y = mk.moe_linear %x, %r, %w {chosen = 1 : i64} : (tensor<?x16xf32>, tensor<?x2xf32>, tensor<2x96x16xf32>) -> tensor<?x96xf32>
      mk.yield %y : tensor<?x96xf32>
    }
    mk_task.family @a kind(@moe) [@x, @w, @r] -> [@y]
    // CHECK: mk_task.task @a units(0, 2) worker(0) {{.*}} stream(0)
    mk_task.task @a units(0, 2) worker(0) wait [] previous [] signal []
    // CHECK: mk_task.task @a units(2, 3) worker(1) {{.*}} stream(128)
    mk_task.task @a units(2, 3) worker(1) wait [] previous [] signal []
  }
}
