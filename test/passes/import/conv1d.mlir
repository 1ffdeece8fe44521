// Tests that a product with the columns of a weight takes its transpose, and that one whose bias is scaled is a plain one and a mk.generic.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/(%%b, %%x, %%w, %%one, %%one)/(%%b, %%x, %%w, %%pad, %%one)/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!v = !torch.vtensor<[4],f32>
!table = !torch.vtensor<[8,4],f32>
!w = !torch.vtensor<[4,4],f32>
// CHECK: %[[W:.*]] = mk.weight @w view<shape = [4, 4], transposed = true> : tensor<4x4xf32>
// CHECK: %[[L:.*]] = mk.linear %{{.*}}, [%[[W]]]
// CHECK: %[[B:.*]] = mk.weight @b view<shape = [4], plus = 1.000000e+00> : tensor<4xf32>
// CHECK: mk.add %[[L]], %[[B]]
// OTHER: mk.generic
// OTHER-NOT: mk.linear
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %w: !w {mk.kind = "parameter", mk.name = "w"},
    %v: !v {mk.kind = "parameter", mk.name = "b"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %b = "torch.aten.add.Scalar"(%v, %one, %one) : (!v, !torch.int, !torch.int) -> !v
  %y = "torch.aten.addmm"(%b, %x, %w, %one, %one) : (!v, !x, !w, !torch.int, !torch.int) -> !x loc("h.0.attn.c_attn")
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
