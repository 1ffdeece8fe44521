// Tests that a join takes its columns from one operand or the other, and that one of tokens is refused.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/(%%list2, %%pad)/(%%list2, %%zero)/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
!w = !torch.vtensor<[?,8],f32>
// CHECK: #[[A:.*]] = affine_map<(d0) -> (d0 mod 4)>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[E:.*]] = mk.exp %[[X]]
// CHECK: mk.generic %[[E]], %[[X]] sizes [8] maps [#[[A]], #[[A]]] : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
// CHECK: mk.iteration 0
// CHECK: arith.select
// ERROR: 'torch.aten.cat'{{.*}}no conversion to mk: it mixes tokens
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %zero = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %yes = "torch.constant.bool"() <{value = true}> : () -> !torch.bool
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %four = "torch.constant.int"() <{value = 4 : i64}> : () -> !torch.int
  %a = "torch.aten.exp"(%x) : (!x) -> !x
  %list2 = "torch.prim.ListConstruct"(%a, %x) : (!x, !x) -> !torch.list<vtensor>
  %w = "torch.aten.cat"(%list2, %pad) : (!torch.list<vtensor>, !torch.int) -> !w
  %y = "torch.aten.slice.Tensor"(%w, %one, %zero, %four, %one) : (!w, !torch.int, !torch.int, !torch.int, !torch.int) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
