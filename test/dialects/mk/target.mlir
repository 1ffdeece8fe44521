// Tests that #mk.target describes a machine that mk can compile for.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK: mk.target = #mk.target<kind = "cpu", features = "avx512f", workers = 2, lanes = 16, bandwidth = 30>
module attributes {mk.target = #mk.target<kind = "cpu", features = "avx512f", workers = 2, lanes = 16, bandwidth = 30>} {}

// -----

// expected-error @+1 {{expected target kind "cpu" or "gpu", found "tpu"}}
module attributes {mk.target = #mk.target<kind = "tpu", features = "", workers = 2, lanes = 16, bandwidth = 30>} {}

// -----

// expected-error @+1 {{expected at least one worker, found 0}}
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 0, lanes = 16, bandwidth = 30>} {}

// -----

// expected-error @+1 {{expected 4, 8 or 16 lanes, found 12}}
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 12, bandwidth = 30>} {}

// -----

// expected-error @+1 {{expected a positive bandwidth, found -1}}
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = -1>} {}
