// RUN: mk-opt %s --mk-build-kernel --verify-diagnostics

// Tests that a program without a table is refused.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  // expected-error@+1 {{expects a table: run mk-build-table before}}
  mk_task.program @step {
  }
}
