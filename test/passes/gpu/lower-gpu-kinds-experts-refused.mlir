// RUN: mk-opt %s --mk-lower-gpu-kinds --split-input-file --verify-diagnostics

// Tests what a mixture of experts cannot do on a GPU: weights of float32, and a route whose words do not say that they are
// there, which the loader could not wait for.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 131072, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<8x32x64xf32>
  mk_task.buffer @x flagged domain(tokens) order(fragments) offset(0) : tensor<?x64xf32>
  mk_task.buffer @r flagged domain(tokens) offset(2048) : tensor<?x8xf32>
  mk_task.buffer @y flagged domain(tokens) offset(4096) : tensor<?x32xf32>
  mk_task.kind @moe class(experts) domain(tokens) units(8) segments [#mk_task.segment<base = 0, limit = 32, outer = 8, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<8x32x64xf32>, %r: tensor<?x8xf32>):
    // expected-error@+1 {{expects weights of bf16 (in kind 'moe' for a gpu)}}
    %y = mk.moe_linear %x, %r, %w {chosen = 1 : i64} : (tensor<?x64xf32>, tensor<?x8xf32>, tensor<8x32x64xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@moe) [@x, @w, @r] -> [@y]
}
}

// -----
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 131072, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<8x32x64xbf16>
  mk_task.buffer @x flagged domain(tokens) order(fragments) offset(0) : tensor<?x64xf32>
  mk_task.buffer @r domain(tokens) offset(2048) : tensor<?x8xf32>
  mk_task.buffer @y flagged domain(tokens) offset(4096) : tensor<?x32xf32>
  mk_task.kind @moe class(experts) domain(tokens) units(8) segments [#mk_task.segment<base = 0, limit = 32, outer = 8, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<8x32x64xbf16>, %r: tensor<?x8xf32>):
    // expected-error@+1 {{expects a route that a task of this step makes for experts alone (in kind 'moe' for a gpu)}}
    %y = mk.moe_combine %x, %r, %w {chosen = 1 : i64} : (tensor<?x64xf32>, tensor<?x8xf32>, tensor<8x32x64xbf16>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@moe) [@x, @w, @r] -> [@y]
}
}
