// Tests that the conditions of a family are printed and read, and must be buffers of one number that differ.
// RUN: sed 's/COND/#mk_task.condition<buffer = @p, taken = true>, #mk_task.condition<buffer = @q, taken = false>/' %s | mk-opt | mk-opt | FileCheck %s
// RUN: sed 's/COND/#mk_task.condition<buffer = @x, taken = true>/' %s | not mk-opt 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: sed 's/COND/#mk_task.condition<buffer = @none, taken = true>/' %s | not mk-opt 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: sed 's/COND/#mk_task.condition<buffer = @p, taken = true>, #mk_task.condition<buffer = @p, taken = false>/' %s | not mk-opt 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: sed 's/COND//' %s | not mk-opt 2>&1 | FileCheck %s --check-prefix=EMPTY

// CHECK: mk_task.family @act kind(@silu) [@x] -> [@y] if [#mk_task.condition<buffer = @p, taken = true>, #mk_task.condition<buffer = @q, taken = false>]
// TYPE: "act": condition expected a buffer tensor<?x1xf32>, found @x
// NONE: "act": condition expected a buffer tensor<?x1xf32>, found @none
// TWICE: "act" has two conditions on @p
// EMPTY: "act" expected 1 to 4 conditions, found 0
mk_task.program @step {
  mk_task.buffer @p domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @q domain(tokens) : tensor<?x1xf32>
  mk_task.buffer @x domain(tokens) : tensor<?x16xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x16xf32>
  mk_task.kind @silu class(columns) domain(tokens) {
  ^bb0(%x: tensor<?x16xf32>):
    %y = mk.silu %x : (tensor<?x16xf32>) -> tensor<?x16xf32>
    mk.yield %y : tensor<?x16xf32>
  }
  mk_task.family @act kind(@silu) [@x] -> [@y] if [COND]
}
