// Tests that #mk.target of a GPU has its on-chip memory, tiles of 2 * 2 rows, and what its instructions are where that is not
// usual; and that a CPU prints none of that.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK: mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 132, lanes = 2, bandwidth = 3150, shared = 232448, in_flight = 32768>
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 132, lanes = 2, bandwidth = 3150, shared = 232448, in_flight = 32768>} {}

// -----

// CHECK: mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30>
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30, shared = 0>} {}

// -----

// expected-error @+1 {{expected 2 lanes on a gpu, found 16}}
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 132, lanes = 16, bandwidth = 3150, shared = 232448, in_flight = 32768>} {}

// -----

// expected-error @+1 {{expected the shared memory and the bytes in flight of a gpu, found 0 and 32768}}
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 132, lanes = 2, bandwidth = 3150, in_flight = 32768>} {}

// -----

// expected-error @+1 {{expected 4, 8 or 16 lanes, found 2}}
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 2, bandwidth = 30>} {}

// -----

// CHECK: shared = 166912, in_flight = 32768, bulk_copy = 0, set_registers = 0>
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_80", workers = 108, lanes = 2, bandwidth = 1935, shared = 166912, in_flight = 32768, registers = 65536, bulk_copy = 0, set_registers = 0, mma_bf16 = 1>} {}

// -----

// expected-error @+1 {{expected bulk_copy to be 0 or 1, found 2}}
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 132, lanes = 2, bandwidth = 3150, shared = 232448, in_flight = 32768, bulk_copy = 2>} {}
