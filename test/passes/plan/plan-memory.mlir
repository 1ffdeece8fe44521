// RUN: mk-opt %s --mk-plan-memory=dump=1 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=PLAN <%t

// Tests that @c takes the bytes of @a, which nobody reads any more, that @b keeps its own because the last family still
// reads it, and that the rows of @logits are not given away although nothing in the program reads them.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    // CHECK: activations = 7168
    // PLAN: memory plan: 7168 bytes
    // CHECK: mk_task.buffer @x domain(tokens) offset(0)
    // CHECK: mk_task.buffer @a domain(tokens) offset([[A:[0-9]+]])
    // CHECK: mk_task.buffer @b domain(tokens) offset([[B:[0-9]+]])
    // CHECK: mk_task.buffer @c domain(tokens) offset([[A]])
    // CHECK-NOT: offset([[A]])
    // CHECK: mk_task.buffer @logits domain(rows)
    // CHECK-NOT: offset([[B]])
    mk_task.buffer @x domain(tokens) : tensor<?x32xf32>
    mk_task.buffer @a domain(tokens) : tensor<?x32xf32>
    mk_task.buffer @b domain(tokens) : tensor<?x32xf32>
    mk_task.buffer @c domain(tokens) : tensor<?x32xf32>
    mk_task.buffer @logits domain(rows) : tensor<?x32xf32>
    mk_task.buffer @rows request domain(rows) offset(0) : tensor<?xi32>
    mk_task.kind @add class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x32xf32>, %y: tensor<?x32xf32>):
      %z = mk.add %x, %y : (tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %z : tensor<?x32xf32>
    }
    mk_task.kind @embedding class(columns) domain(tokens) {
    ^bb0(%t: tensor<9x32xf32>, %i: tensor<?xi32>):
      %x = mk.embedding %t, %i : (tensor<9x32xf32>, tensor<?xi32>) -> tensor<?x32xf32>
      mk.yield %x : tensor<?x32xf32>
    }
    mk_task.weight @table [@table] layout(rows) : tensor<9x32xf32>
    mk_task.family @f0 kind(@embedding) [@table, @rows] -> [@x]
    mk_task.family @f1 kind(@add) [@x, @x] -> [@a]
    mk_task.family @f2 kind(@add) [@x, @a] -> [@b]
    mk_task.family @f3 kind(@add) [@b, @x] -> [@c]
    mk_task.family @f4 kind(@add) [@b, @c] -> [@logits]
  }
}
