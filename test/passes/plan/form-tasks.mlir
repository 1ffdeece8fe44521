// RUN: mk-opt %s --mk-form-tasks | FileCheck %s

// Tests that two linears of one shape share a kind and their weights become tiles, that a vector that the epilogue
// captures follows the weight, and that a linear with another epilogue (%c) gets a kind of its own.

module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x32xf32> {
    %e = mk.weight @embed.w : tensor<160x32xf32>
    %w0 = mk.weight @a.0.w : tensor<16x32xf32>
    %w1 = mk.weight @a.1.w : tensor<16x32xf32>
    %bias = mk.weight @bias : tensor<32xf32>
    %x = mk.embedding %e, %tokens : (tensor<160x32xf32>, tensor<?xi32>) -> tensor<?x32xf32> loc("embed")
    %a = mk.linear %x, [%w0, %w1] : (tensor<?x32xf32>, tensor<16x32xf32>, tensor<16x32xf32>) -> tensor<?x32xf32> loc("a")
    %b = mk.linear %a, [%w1, %w0] : (tensor<?x32xf32>, tensor<16x32xf32>, tensor<16x32xf32>) -> tensor<?x32xf32> loc("b")
    %c = mk.linear %b, [%w0, %w1] : (tensor<?x32xf32>, tensor<16x32xf32>, tensor<16x32xf32>) -> tensor<?x32xf32> epilogue {
    ^bb0(%acc: tensor<?x32xf32>):
      %s = mk.add %acc, %bias : (tensor<?x32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
      %t = mk.add %s, %b : (tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %t : tensor<?x32xf32>
    } loc("c")
    %l = mk.select_rows %c, %rows : (tensor<?x32xf32>, tensor<?xi32>) -> tensor<?x32xf32> loc("select")
    return %l : tensor<?x32xf32>
  }
}
// CHECK-LABEL: mk_task.program @step
// CHECK: mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>
// CHECK: mk_task.weight @embed.w [@embed.w] layout(rows) : tensor<160x32xf32>
// CHECK: mk_task.weight @[[W:a.0_1.w]] [@a.0.w, @a.1.w] layout(tiles) : tensor<32x32xf32>
// CHECK: mk_task.buffer @logits domain(rows) : tensor<?x32xf32>
// CHECK: mk_task.kind @linear class(tiles) domain(tokens)
// CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x32xf32>, %[[P:.*]]: tensor<32x32xf32>):
// CHECK-NEXT: mk.linear %[[X]], [%[[P]]]
// CHECK: mk_task.kind @linear_add class(tiles)
// CHECK: mk_task.family @a kind(@linear) [@embed.out, @[[W]]] -> [@a.out]
// CHECK: mk_task.family @b kind(@linear) [@a.out, @a.1_0.w] -> [@b.out]
// CHECK: mk_task.family @c kind(@linear_add) [@b.out, @[[W]]_1, @bias] -> [@c.out]
// CHECK: mk_task.family @select kind(@select_rows) [@c.out, @rows] -> [@logits]
