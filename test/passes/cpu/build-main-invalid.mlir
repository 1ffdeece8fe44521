// RUN: mk-opt %s --mk-build-main --verify-diagnostics

// Tests that a program without a table is refused.

module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  // expected-error@+1 {{expects a table: run mk-build-table before}}
  mk_task.program @step {
  }
}
