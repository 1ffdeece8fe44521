// Tests that the sigmoid of one column times rows is their gate, and that another activation of it is none.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed "s/aten.sigmoid/aten.silu/" %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!one = !torch.vtensor<[?,1],f32>
!w = !torch.vtensor<[1,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[G:.*]] = mk.linear %[[X]], {{.*}} -> tensor<?x1xf32>
// CHECK-NEXT: mk.gate_rows %[[X]], %[[G]]
// OTHER-NOT: mk.gate_rows
// OTHER: mk.generic
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %w: !w {mk.kind = "parameter", mk.name = "w"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %one = "torch.aten.linear"(%x, %w, %none) : (!x, !w, !torch.none) -> !one
  %gate = "torch.aten.sigmoid"(%one) : (!one) -> !one
  %y = "torch.aten.mul.Tensor"(%gate, %x) : (!one, !x) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
