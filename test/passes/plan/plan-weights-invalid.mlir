// RUN: mk-opt %s --mk-plan-weights -verify-diagnostics

// Tests that a unit without a task, whose tile no worker would ever read, is refused.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    mk_task.weight @w [@w] layout(tiles) : tensor<64x64xf32>
    mk_task.weight @gain [@gain] layout(rows) : tensor<64xf32>
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x64xf32>
    // expected-error@+1 {{weight plan: expected a task for unit 1 of @w}}
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
    mk_task.task @a units(0, 1) worker(0) wait [] previous [] signal []
  }
}
