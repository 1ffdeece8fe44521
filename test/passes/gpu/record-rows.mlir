// RUN: mk-opt %s --split-input-file --mk-record-rows | FileCheck %s

// Tests that inputs and results of a function get places in records, each in lines of its own, but not what a step
// keeps for itself, and nothing on a CPU.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>} {
mk_task.program @step {
  // CHECK: @tokens request domain(tokens) : tensor
  mk_task.buffer @tokens request domain(tokens) : tensor<?xi32>
  // CHECK: @x input domain(tokens) record(192) offset(0)
  mk_task.buffer @x input domain(tokens) : tensor<?x24xf32>
  // CHECK: @ids input domain(tokens) record(192) offset(128)
  mk_task.buffer @ids input domain(tokens) : tensor<?xi32>
  // CHECK: @own domain(tokens) : tensor
  mk_task.buffer @own domain(tokens) : tensor<?x24xf32>
  // CHECK: @second domain(tokens) record(192) offset(64)
  mk_task.buffer @second domain(tokens) : tensor<?x24xf32>
  // CHECK: @first domain(tokens) record(192) offset(0)
  mk_task.buffer @first domain(tokens) : tensor<?x8xf32>
  mk_task.kind @finish class(serial) domain(tokens) {
  ^bb0(%a: tensor<?x8xf32>, %b: tensor<?x24xf32>):
    mk.finish %a, %b : tensor<?x8xf32>, tensor<?x24xf32>
    mk.yield
  }
  mk_task.family @end kind(@finish) [@first, @second] -> []
}
}

// -----

module attributes {mk.target = #mk.target<kind = "cpu", features = "avx2", workers = 2, lanes = 8, bandwidth = 50>} {
mk_task.program @step {
  // CHECK: @x input domain(tokens) : tensor
  mk_task.buffer @x input domain(tokens) : tensor<?x24xf32>
}
}
