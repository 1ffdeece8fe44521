// Tests that #mk.options has a default for every size and rejects sizes that do not fit together.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK: mk.options = #mk.options<max_tokens = 512, max_rows = 64, max_sequences = 8, max_length = 2048, page = 64, split = 256>
module attributes {mk.options = #mk.options<>} {}

// -----

// CHECK: mk.options = #mk.options<max_tokens = 64, max_rows = 64, max_sequences = 8, max_length = 96, page = 32, split = 32>
module attributes {mk.options = #mk.options<page = 32, split = 32, max_length = 96, max_tokens = 64>} {}

// -----

// expected-error @+1 {{expected one of max_tokens, max_rows, max_sequences, max_length, page, split, found pages}}
module attributes {mk.options = #mk.options<pages = 4>} {}

// -----

// expected-error @+1 {{expected page in 1 .. 2147483647, found 0}}
module attributes {mk.options = #mk.options<page = 0>} {}

// -----

// expected-error @+1 {{expected max_tokens in 1 .. 2147483647, found 4294967296}}
module attributes {mk.options = #mk.options<max_tokens = 4294967296>} {}

// -----

// expected-error @+1 {{expected page to be a multiple of the smallest vector, found 6 and 4}}
module attributes {mk.options = #mk.options<page = 6, split = 6>} {}

// -----

// expected-error @+1 {{expected split to be a multiple of page, found 96 and 64}}
module attributes {mk.options = #mk.options<split = 96>} {}

// -----

// expected-error @+1 {{expected max_length to be a multiple of page, found 100 and 64}}
module attributes {mk.options = #mk.options<max_length = 100>} {}

// -----

// expected-error @+1 {{expected max_rows to be at most max_tokens, found 1024 and 512}}
module attributes {mk.options = #mk.options<max_rows = 1024>} {}

// -----

// expected-error @+1 {{expected max_sequences to be at most max_rows, found 65 and 64}}
module attributes {mk.options = #mk.options<max_sequences = 65>} {}
