// Tests that silu(gate) * up becomes one gate; a silu with another consumer stays itself, a sum is no gate.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/mul.Tensor"(%%up, %%act)/add.Tensor"(%%up, %%act, %%one)/; s/(!x, !x) -> !x$/(!x, !x, !torch.int) -> !x/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=SUM
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: %[[UP:.*]] = mk.embedding
// CHECK: %[[GATE:.*]] = mk.mul %[[UP]], %{{.*}} : (tensor<?x4xf32>, tensor<4xf32>)
// CHECK-NEXT: %[[GLU:.*]] = mk.glu %[[GATE]], %[[UP]]
// CHECK-NEXT: mk.select_rows %[[GLU]]
// SUM: %[[ACT:.*]] = mk.silu
// SUM-NEXT: mk.add %{{.*}}, %[[ACT]]
// SUM-NOT: mk.glu
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %w: !torch.vtensor<[4],f32> {mk.kind = "parameter", mk.name = "w"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %up = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %gate = "torch.aten.mul.Tensor"(%w, %up) : (!torch.vtensor<[4],f32>, !x) -> !x
  %act = "torch.aten.silu"(%gate) : (!x) -> !x
  %y = "torch.aten.mul.Tensor"(%up, %act) : (!x, !x) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
