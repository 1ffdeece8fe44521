// Tests that indexing by the input rows selects rows; selecting by another input, or a result without selection, is refused.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/ListConstruct"(%%rows)/ListConstruct"(%%slots)/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=OTHER
// RUN: sed 's/return %%r/return %%x/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=NONE
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: func.func @step({{.*}}, %[[ROWS:.*]]: tensor<?xi32> {mk.name = "rows"}) -> tensor<?x4xf32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK-NEXT: %[[R:.*]] = mk.select_rows %[[X]], %[[ROWS]] : (tensor<?x4xf32>, tensor<?xi32>) -> tensor<?x4xf32>
// CHECK-NEXT: return %[[R]]
// OTHER: 'torch.aten.index.Tensor': no conversion to mk: only the rows of the input 'rows' can be selected
// NONE: the result must be [?,V] logits of the rows selected by 'rows'
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%x, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
