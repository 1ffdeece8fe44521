// RUN: mk-opt %s --mk-join-ranges | FileCheck %s
// RUN: sed 's/max_tokens = 16/max_tokens = 8/' %s | mk-opt --mk-join-ranges | FileCheck %s --check-prefix=NOT
// RUN: sed 's/@rows flagged/@rows/' %s | mk-opt --mk-join-ranges | FileCheck %s --check-prefix=NOT

// Tests that attention also joins its ranges, with what the join needs besides as an operand more, if a family behind it
// does that and nothing else; and that it does not for steps of few tokens, nor where rows do not say that they are there.

#s = #mk_task.segment<base = 0, limit = 128, outer = 32, stride = 4, half = 2, partner = 2>
module attributes {mk.target = #mk.target<kind = "gpu", features = "", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) : tensor<?xi32>
  mk_task.buffer @slots request domain(tokens) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<2x32xbf16>
  mk_task.weight @sinks [@sinks] layout(rows) : tensor<4xf32>
  mk_task.buffer @q domain(tokens) : tensor<?x128xf32>
  mk_task.buffer @ranges flagged domain(tokens) order(ranges) : tensor<?x272xf32>
  mk_task.buffer @rows flagged domain(tokens) : tensor<?x128xf32>
  mk_task.kind @attend class(attend) domain(tokens) {
  ^bb0(%q: tensor<?x128xf32>, %c: !mk.cache<2x32xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>):
    %y = mk.attend %q, %c, %p, %s {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (tensor<?x128xf32>, !mk.cache<2x32xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x272xf32>
    mk.yield %y : tensor<?x272xf32>
  }
  mk_task.kind @combine class(columns) domain(tokens) units(32) segments [#s] {
  ^bb0(%y: tensor<?x272xf32>, %p: tensor<?xi32>, %t: tensor<4xf32>):
    %x = mk.combine %y, %p, %t {head_dim = 32 : i64, split = 32 : i64, splits = 2 : i64} : (tensor<?x272xf32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x128xf32>
    mk.yield %x : tensor<?x128xf32>
  }
  // CHECK: %[[Y:.*]] = mk.attend
  // CHECK: %[[X:.*]] = mk.combine %[[Y]], %arg2, %arg4
  // CHECK: mk.yield %[[Y]], %[[X]]
  // CHECK: @a kind(@attend) [@q, @kv, @positions, @slots, @sinks] -> [@ranges, @rows]
  // CHECK: @b kind(@combine) [@ranges, @positions, @sinks] -> [@rows]
  // NOT: @a kind(@attend) [@q, @kv, @positions, @slots] -> [@ranges]
  mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots] -> [@ranges]
  mk_task.family @b kind(@combine) [@ranges, @positions, @sinks] -> [@rows]
}
}
