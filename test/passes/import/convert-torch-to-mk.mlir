// Tests that what feeds nothing is left behind, and that every operator without a conversion is named with its module and types.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/("dead")/("layers.0.mlp")/; s/(%%r)/(%%y)/; s/index.Tensor"(%%x/index.Tensor"(%%y/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK-NOT: torch
// CHECK: mk.embedding
// CHECK-NEXT: mk.select_rows
// CHECK-NEXT: return
// ERROR: 'torch.aten.lgamma' at layers.0.mlp: no conversion to mk (operand 0 is [?,4] f32, activation rows)
// ERROR: 'torch.aten.cumsum' at layers.0.mlp: no conversion to mk: it mixes tokens (operand 0 is [?,4] f32, activation rows)
// ERROR-NOT: no conversion to mk
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %first = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %a = "torch.aten.lgamma"(%x) : (!x) -> !x loc("dead")
  %b = "torch.aten.cumsum"(%x, %first, %none) : (!x, !torch.int, !torch.none) -> !x loc("dead")
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %y = "torch.aten.add.Tensor"(%a, %b, %one) : (!x, !x, !torch.int) -> !x loc("dead")
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%x, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
