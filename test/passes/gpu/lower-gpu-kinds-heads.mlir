// RUN: mk-opt %s --mk-lower-gpu-kinds --split-input-file --verify-diagnostics

// Tests that attention is refused on a cache of float32, and for heads that no power of two of threads shares, and without the rows of the step.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @p request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<1x80xbf16>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x80xf32>
  mk_task.buffer @y domain(tokens) order(ranges) offset(4096) : tensor<?x82xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(2) {
  ^bb0(%q: tensor<?x80xf32>, %c: !mk.cache<1x80xbf16>, %p: tensor<?xi32>):
    // expected-error@+1 {{expects heads of 32, 64, 128 or 256 columns (in kind 'attend' for a gpu)}}
    %y = mk.attend %q, %c, %p, %p {scale = 0.25 : f64, split = 64 : i64, splits = 1 : i64}
      : (tensor<?x80xf32>, !mk.cache<1x80xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x82xf32>
    mk.yield %y : tensor<?x82xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @p] -> [@y]
}
}

// -----
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @p request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<1x64xf32>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) order(ranges) offset(4096) : tensor<?x66xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(2) {
  ^bb0(%q: tensor<?x64xf32>, %c: !mk.cache<1x64xf32>, %p: tensor<?xi32>):
    // expected-error@+1 {{expects a cache of bf16 (in kind 'attend' for a gpu)}}
    %y = mk.attend %q, %c, %p, %p {scale = 0.25 : f64, split = 64 : i64, splits = 1 : i64}
      : (tensor<?x64xf32>, !mk.cache<1x64xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x66xf32>
    mk.yield %y : tensor<?x66xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @p] -> [@y]
}
}

// -----
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @p request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<1x64xbf16>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) order(ranges) offset(4096) : tensor<?x66xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(2) {
  ^bb0(%q: tensor<?x64xf32>, %c: !mk.cache<1x64xbf16>, %p: tensor<?xi32>):
    // expected-error@+1 {{expects the keys and values of the step as rows: run mk-forward-kv before (in kind 'attend' for a gpu)}}
    %y = mk.attend %q, %c, %p, %p {scale = 0.25 : f64, split = 64 : i64, splits = 1 : i64}
      : (tensor<?x64xf32>, !mk.cache<1x64xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x66xf32>
    mk.yield %y : tensor<?x66xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @p] -> [@y]
}
}
