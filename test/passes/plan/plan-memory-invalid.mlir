// RUN: mk-opt %s --mk-plan-memory -verify-diagnostics

// Tests that a family which reads a buffer that none has written yet is refused: its bytes would be another buffer's.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) : tensor<?x32xf32>
    mk_task.buffer @y domain(tokens) : tensor<?x32xf32>
    mk_task.kind @silu class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    // expected-error@+1 {{reads @x before any family writes it}}
    mk_task.family @a kind(@silu) [@x] -> [@y]
  }
}
