// Tests that positions, and positions plus a number, are looked up in a table of their own; not so tokens plus a number.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/add.Scalar"(%%positions/add.Scalar"(%%tokens/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: func.func @step(%[[TOKENS:[^:]*]]: {{[^}]*}}}, %[[POSITIONS:[^:]*]]
// CHECK: %[[X:.*]] = mk.embedding %{{.*}}, %[[TOKENS]] : (tensor<8x4xf32>
// CHECK: %[[P:.*]] = mk.embedding %{{.*}}, %[[POSITIONS]] {offset = 2 : i64} : (tensor<8x4xf32>
// CHECK: mk.add %[[X]], %[[P]]
// ERROR: 'torch.aten.embedding' at embed_positions: no conversion to mk: an embedding must look up the step's tokens
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %places: !table {mk.kind = "parameter", mk.name = "places"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %two = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %at = "torch.aten.add.Scalar"(%positions, %two, %one) : (!i, !torch.int, !torch.int) -> !i
  %p = "torch.aten.embedding"(%places, %at, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x loc("embed_positions")
  %y = "torch.aten.add.Tensor"(%x, %p, %one) : (!x, !x, !torch.int) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
