// RUN: mk-opt %s --mk-form-tasks -split-input-file -verify-diagnostics

// Tests that what has no meaning as tasks over memory is refused, and that the newest cache is not.

// The newest cache is fine.
module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) {
    %e = mk.weight @embed : tensor<160x64xf32>
    %x = mk.embedding %e, %tokens : (tensor<160x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    %k = mk.slice %x {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
    %c = mk.kv_cache {layer = 0 : i64} : !mk.cache<2x16xf32>
    %c1 = mk.kv_append %c, %k, %k, %positions, %slots : (!mk.cache<2x16xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xf32>
    %y = mk.attend %x, %c1, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    return
  }
}

// -----

// A cache is not read as it was before an append.
module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) {
    %e = mk.weight @embed : tensor<160x64xf32>
    %x = mk.embedding %e, %tokens : (tensor<160x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    %k = mk.slice %x {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
    %c = mk.kv_cache {layer = 0 : i64} : !mk.cache<2x16xf32>
    %c1 = mk.kv_append %c, %k, %k, %positions, %slots : (!mk.cache<2x16xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xf32>
    // expected-error@below {{needs @kv0 as it was before an append that comes earlier; expected the newest cache}}
    %y = mk.attend %x, %c, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    return
  }
}

// -----

// Rows of tokens and rows of logits do not mix.
module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) {
    %e = mk.weight @embed : tensor<160x64xf32>
    %x = mk.embedding %e, %tokens : (tensor<160x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    %l = mk.select_rows %x, %rows : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    // expected-error@below {{mixes rows of the step's tokens with rows of its logits; expected mk.select_rows between them}}
    %s = mk.add %l, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    return
  }
}

// -----

// Attention must have been split.
module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) {
    %e = mk.weight @embed : tensor<160x64xf32>
    %x = mk.embedding %e, %tokens : (tensor<160x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    %k = mk.slice %x {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
    %c = mk.kv_cache {layer = 0 : i64} : !mk.cache<2x16xf32>
    %c1 = mk.kv_append %c, %k, %k, %positions, %slots : (!mk.cache<2x16xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xf32>
    // expected-error@below {{cannot become a task; expected an op of mk that has been split}}
    %y = mk.attention %x, %c1, %positions, %slots {scale = 0.25 : f64}
      : (tensor<?x64xf32>, !mk.cache<2x16xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
    return
  }
}

// -----

// Nothing follows the end of the step.
module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) {
    %e = mk.weight @embed : tensor<160x64xf32>
    %x = mk.embedding %e, %tokens : (tensor<160x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    mk.advance %rows : tensor<?xi32>
    // expected-error@below {{comes after mk.advance; expected that to end the step}}
    %s = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return
  }
}

// -----

// Of learned positions there are as many as a slot has.
module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) {
    %e = mk.weight @embed : tensor<65x64xf32>
    %x = mk.embedding %e, %positions {offset = 1 : i64} : (tensor<65x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    // expected-error@below {{looks up a position in 65 rows from row 2 on; expected max_length of at most 63 in whole pages, found 64}}
    %y = mk.embedding %e, %positions {offset = 2 : i64} : (tensor<65x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    return
  }
}
