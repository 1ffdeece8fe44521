// RUN: mk-opt %s --mk-build-main --split-input-file --verify-diagnostics

// Tests that a program without a table is refused, and a module without the sizes that place the request.

module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  // expected-error@+1 {{expects a table: run mk-build-table before}}
  mk_task.program @step {
  }
}

// -----
// expected-error@+1 {{expected the sizes of the program in the module attribute mk.options, found none}}
module {
  mk_task.program @step {
    mk_task.table counts [0] kinds [] families [] events [] words dense<-1> : tensor<1x1x32xi32>
  }
}
