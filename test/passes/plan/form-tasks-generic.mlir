// Tests that equal loop nests are one kind, whatever they read, and that another region is another kind.
// RUN: mk-opt %s --mk-form-tasks | FileCheck %s
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  // CHECK: mk_task.weight @w [@w] views [#mk.view<shape = [2, 4], flat = true>] layout(rows) : tensor<8xf32>
  // CHECK: mk_task.kind @generic class(columns) domain(tokens)
  // CHECK: mk_task.kind @generic_1 class(columns) domain(tokens)
  // CHECK: mk_task.family @a kind(@generic) [@positions, @w]
  // CHECK: mk_task.family @b kind(@generic) [@positions, @w]
  // CHECK: mk_task.family @c kind(@generic_1)
  func.func @step(%t: tensor<?xi32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %r: tensor<?xi32>) -> tensor<?x8xf32> {
    %w = mk.weight @w view<shape = [2, 4], flat = true> : tensor<8xf32>
    %a = mk.generic %p, %w sizes [8] maps [affine_map<(d0) -> (0)>, affine_map<(d0) -> (d0)>] : (tensor<?xi32>, tensor<8xf32>) -> tensor<?x8xf32> {
    ^bb0(%i: i32, %x: f32):
      mk.yield %x : f32
    } loc("a")
    %b = mk.generic %p, %w sizes [8] maps [affine_map<(d0) -> (0)>, affine_map<(d0) -> (d0)>] : (tensor<?xi32>, tensor<8xf32>) -> tensor<?x8xf32> {
    ^bb0(%i: i32, %x: f32):
      mk.yield %x : f32
    } loc("b")
    %c = mk.generic %a, %b sizes [8] maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>] : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> {
    ^bb0(%x: f32, %y: f32):
      %z = arith.addf %x, %y : f32
      mk.yield %z : f32
    } loc("c")
    %d = mk.select_rows %c, %r : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
    return %d : tensor<?x8xf32>
  }
}
