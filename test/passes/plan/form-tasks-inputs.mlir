// Tests that inputs become buffers that the host writes and keep their bytes for the whole step, that results are what
// mk.finish reads, and that an argument behind the request's must be an input.
// RUN: mk-opt %s --mk-form-tasks --mk-plan-memory | FileCheck %s
// RUN: sed 's/{mk.input, mk.name = "x"}//' %s | not mk-opt --mk-form-tasks 2>&1 | FileCheck %s --check-prefix=ERROR

module attributes {mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>,
      %x: tensor<?x32xf32> {mk.input, mk.name = "x"}, %ids: tensor<?xi32> {mk.input, mk.name = "ids"}) -> tensor<?x32xf32> {
    %e = mk.weight @embed.w : tensor<160x32xf32>
    %a = mk.embedding %e, %ids : (tensor<160x32xf32>, tensor<?xi32>) -> tensor<?x32xf32> loc("embed")
    %b = mk.add %a, %x : (tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32> loc("add")
    %c = mk.silu %b : (tensor<?x32xf32>) -> tensor<?x32xf32> loc("act")
    mk.finish %c : tensor<?x32xf32>
    return %c : tensor<?x32xf32>
  }
}
// CHECK: mk_task.buffer @x input domain(tokens) offset([[X:[0-9]+]]) : tensor<?x32xf32>
// CHECK-NEXT: mk_task.buffer @ids input domain(tokens) offset([[IDS:[0-9]+]]) : tensor<?xi32>
// CHECK-NOT: offset([[X]])
// CHECK-NOT: offset([[IDS]])
// CHECK: mk_task.buffer @result0 domain(tokens)
// CHECK-NOT: offset([[X]])
// CHECK: mk_task.family @embed kind(@embedding) [@embed.w, @ids]
// CHECK: mk_task.family @finish_1 kind(@finish) [@result0] -> []
// ERROR: expected argument 4 to have mk.name and mk.input
