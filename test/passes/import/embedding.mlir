// Tests that a table used as embedding and as head stays one weight, and that only tokens and positions are looked up.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/(%%table, %%tokens/(%%table, %%slots/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!y = !torch.vtensor<[?,8],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: func.func @step(%[[TOKENS:[^:]*]]
// CHECK: %[[W:.*]] = mk.weight @embed : tensor<8x4xf32>
// CHECK-NEXT: %[[X:.*]] = mk.embedding %[[W]], %[[TOKENS]]
// CHECK-NOT: mk.weight
// CHECK: mk.linear %{{.*}}, [%[[W]]]
// ERROR: 'torch.aten.embedding' at model.embed: no conversion to mk: an embedding must look up the step's tokens, or its positions plus a number
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %head: !table {mk.kind = "parameter", mk.name = "embed"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !y {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x loc("model.embed")
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%x, %list) : (!x, !torch.list<vtensor>) -> !x
  %y = "torch.aten.linear"(%r, %head, %none) : (!x, !table, !torch.none) -> !y
  return %y : !y
}
