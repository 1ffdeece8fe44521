// Tests that a maximum over columns is a loop nest with a reduction, and that one over tokens is refused.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/(%%x, %%last, %%yes)/(%%x, %%first, %%yes)/; s/!m loc/!f loc/; s/(!x, !m, /(!x, !f, /' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
!m = !torch.vtensor<[?,1],f32>
!f = !torch.vtensor<[1,4],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[M:.*]] = mk.generic %[[X]] sizes [4] reduce 1 by "max" maps [#{{.*}}] : (tensor<?x4xf32>) -> tensor<?x1xf32>
// CHECK: mk.generic %[[X]], %[[M]] sizes [4] maps
// CHECK: arith.subf
// ERROR: 'torch.aten.amax' at layers.0.mlp: no conversion to mk: it mixes tokens (operand 0 is [?,4] f32, activation rows)
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
  %last = "torch.prim.ListConstruct"(%pad) : (!torch.int) -> !torch.list<int>
  %first = "torch.prim.ListConstruct"(%zero) : (!torch.int) -> !torch.list<int>
  %m = "torch.aten.amax"(%x, %last, %yes) : (!x, !torch.list<int>, !torch.bool) -> !m loc("layers.0.mlp")
  %y = "torch.aten.sub.Tensor"(%x, %m, %one) : (!x, !m, !torch.int) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
