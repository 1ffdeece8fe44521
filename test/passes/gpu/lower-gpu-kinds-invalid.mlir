// RUN: mk-opt %s --mk-lower-gpu-kinds --split-input-file --verify-diagnostics

// Tests that the pass names what it needs: a GPU, at most 16 tokens, room for a ring, tiled kinds, and weights of bfloat16.

// expected-error@+1 {{expected a gpu in the module attribute mk.target, found #mk.target<kind = "cpu"}}
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
}

// -----
// expected-error@+1 {{expected at most 16 tokens of a step on a gpu, found max_tokens = 32}}
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 32, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
}

// -----
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 32768, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
// expected-error@+1 {{expected shared memory for a ring of 2 slots of 16384 bytes behind 1408, found 32768}}
mk_task.program @step {
}
}

// -----
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  // expected-error@+1 {{expects its work units: run mk-tile before}}
  mk_task.kind @silu class(columns) domain(tokens) {
  ^bb0(%x: tensor<?x32xf32>):
    %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
}
}
