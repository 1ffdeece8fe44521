// RUN: mk-opt %s --mk-lower-kinds --split-input-file --verify-diagnostics

// Tests that work on whole rows is refused in an epilogue, which sees some columns of a row, and that the pass names what
// must have run before it.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<32x64xf32>
  mk_task.weight @gain [@gain] layout(rows) offset(0) : tensor<32xf32>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(8192) : tensor<?x32xf32>
  mk_task.kind @normed class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<32x64xf32>, %g: tensor<32xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> epilogue {
    ^bb0(%acc: tensor<?x32xf32>):
      // expected-error@+1 {{'mk.rms_norm' op cannot run on the accumulators of a tile: expected work on single columns (in kind 'normed')}}
      %n = mk.rms_norm %acc, %g {eps = 1.0e-5 : f64} : (tensor<?x32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
      mk.yield %n : tensor<?x32xf32>
    }
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@normed) [@x, @w, @gain] -> [@y]
}
}

// -----
// expected-error@+1 {{expected the machine in the module attribute mk.target, found none}}
module {
}

// -----
// expected-error@+1 {{expected the sizes of the program in the module attribute mk.options, found 3 : i64}}
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = 3} {
}

// -----
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  // expected-error@+1 {{expects its work units: run mk-tile before}}
  mk_task.kind @silu class(columns) domain(tokens) {
  ^bb0(%x: tensor<?x32xf32>):
    %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
}
}
