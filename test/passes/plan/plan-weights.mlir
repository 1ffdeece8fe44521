// RUN: mk-opt %s --mk-plan-weights | FileCheck %s

// Tests that the tiles of one worker follow each other over both families (worker 0 reads 0, 128 and then comes worker
// 1's stream), that a gathered weight also gets a place array, and that a vector gets no tiles.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    // CHECK: mk_task.program @step attributes {params = 320 : i64, stream = 32768 : i64}
    // CHECK: mk_task.weight @w [@w] layout(tiles) gathered offset(0)
    // CHECK-SAME: segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>]
    // CHECK-SAME: tile_offsets [0, [[SECOND:256]]]
    mk_task.weight @w [@w] layout(tiles) gathered : tensor<64x64xf32>
    // CHECK: mk_task.weight @v [@v] layout(tiles) segments [{{.*}}] tile_offsets [128, [[LAST:384]]]
    mk_task.weight @v [@v] layout(tiles) : tensor<64x64xf32>
    // CHECK: mk_task.weight @gain [@gain] layout(rows) offset(64) : tensor<64xf32>
    mk_task.weight @gain [@gain] layout(rows) : tensor<64xf32>
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x64xf32>
    mk_task.kind @linear class(tiles) domain(tokens) units(2)
      segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>] {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %g: tensor<64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> prologue {
      ^bb0(%row: tensor<?x64xf32>):
        %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
        mk.yield %n : tensor<?x64xf32>
      }
      mk.yield %y : tensor<?x64xf32>
    }
    mk_task.family @a kind(@linear) [@x, @w, @gain] -> [@y]
    mk_task.family @b kind(@linear) [@y, @v, @gain] -> [@x]
    // CHECK: mk_task.task @a units(0, 1) worker(0) {{.*}} stream(0)
    mk_task.task @a units(0, 1) worker(0) wait [] previous [] signal []
    // CHECK: mk_task.task @a units(1, 2) worker(1) {{.*}} stream([[SECOND]])
    mk_task.task @a units(1, 2) worker(1) wait [] previous [] signal []
    // CHECK: mk_task.task @b units(0, 1) worker(0) {{.*}} stream(128)
    mk_task.task @b units(0, 1) worker(0) wait [] previous [] signal []
    // CHECK: mk_task.task @b units(1, 2) worker(1) {{.*}} stream([[LAST]])
    mk_task.task @b units(1, 2) worker(1) wait [] previous [] signal []
  }
}
