// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that the last register of a row that does not fill it is loaded and stored under a mask, and that a row of whole
// registers has none.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @a domain(tokens) offset(0) : tensor<?x24xf32>
  mk_task.buffer @b domain(tokens) offset(4096) : tensor<?x32xf32>
  mk_task.kind @cut class(columns) domain(tokens) units(1)
    segments [#mk_task.segment<base = 0, limit = 24, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%x: tensor<?x24xf32>):
    %y = mk.silu %x : (tensor<?x24xf32>) -> tensor<?x24xf32>
    mk.yield %y : tensor<?x24xf32>
  }
  mk_task.kind @whole class(columns) domain(tokens) units(1)
    segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%x: tensor<?x32xf32>):
    %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @f kind(@cut) [@a] -> [@a]
  mk_task.family @g kind(@whole) [@b] -> [@b]
}
}
// CHECK-LABEL: func.func private @cut
// CHECK: vector.create_mask
// CHECK: vector.maskedload
// CHECK: vector.maskedstore
// CHECK-LABEL: func.func private @whole
// CHECK-NOT: mask
