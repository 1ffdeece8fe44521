// Tests that a linear keeps its bias as a sum, and that an operand that makes other rows than torch says is refused.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=bf16 %s | FileCheck %s
// RUN: sed 's/(%%x, %%w, %%b) : (!x/(%%w, %%w, %%b) : (!w/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!w = !torch.vtensor<[4,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[W:.*]] = mk.weight @fc.weight : tensor<4x4xbf16>
// CHECK-NEXT: %[[Y:.*]] = mk.linear %[[X]], [%[[W]]] : (tensor<?x4xf32>, tensor<4x4xbf16>) -> tensor<?x4xf32>
// CHECK-NEXT: %[[B:.*]] = mk.weight @fc.bias : tensor<4xf32>
// CHECK-NEXT: %[[SUM:.*]] = mk.add %[[Y]], %[[B]]
// CHECK-NEXT: mk.select_rows %[[SUM]]
// ERROR: 'torch.aten.linear' at model.fc: no conversion to mk: its result [?,4] f32 does not follow from its operands
// ERROR-SAME: (operand 0 is [4,4] f32, a matrix of weights
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %w: !w {mk.kind = "parameter", mk.name = "fc.weight"}, %b: !torch.vtensor<[4],f32> {mk.kind = "parameter", mk.name = "fc.bias"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %y = "torch.aten.linear"(%x, %w, %b) : (!x, !w, !torch.vtensor<[4],f32>) -> !x loc("model.fc")
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
