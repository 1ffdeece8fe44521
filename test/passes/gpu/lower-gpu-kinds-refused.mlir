// RUN: mk-opt %s --mk-lower-gpu-kinds --split-input-file --verify-diagnostics

// Tests what a product on tensor cores cannot do: weights of float32, and a norm that is not the last of a
// prologue.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<4x64xf32>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(2048) : tensor<?x4xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<4x64xf32>):
    // expected-error@+1 {{expects weights of bf16 (in kind 'linear' for a gpu)}}
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<4x64xf32>) -> tensor<?x4xf32>
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
}
}

// -----
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<4x64xbf16>
  mk_task.weight @g [@g] layout(fragments) offset(0) : tensor<64xf32>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(2048) : tensor<?x4xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<4x64xbf16>, %g: tensor<64xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<4x64xbf16>) -> tensor<?x4xf32> prologue {
    ^bb0(%r: tensor<?x64xf32>):
      // expected-error@+1 {{cannot run before a product: expected work on single columns, or a norm as the last operation}}
      %n = mk.rms_norm %r, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
      %s = mk.silu %n : (tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %s : tensor<?x64xf32>
    }
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w, @g] -> [@y]
}
}
