// Tests that inputs of kind `input` become arguments behind the request's, that an input that is returned is copied,
// and that an input must have its rows first.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/1,?,4\],f32/1,4,?],f32/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!b = !torch.vtensor<[1,?],si64>
!x = !torch.vtensor<[1,?,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: func.func @step(%{{.*}}: tensor<?xi32> {mk.name = "tokens"}, {{.*}}, {{.*}}, {{.*}}: tensor<?xi32> {mk.name = "rows"},
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32> {mk.input, mk.name = "x"}, %[[IDS:.*]]: tensor<?xi32> {mk.input, mk.name = "ids"})
// CHECK-SAME: -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>)
// CHECK: %[[E:.*]] = mk.embedding %{{.*}}, %[[IDS]]
// CHECK: %[[Y:.*]] = mk.add %[[X]], %[[E]]
// CHECK: %[[COPY:.*]] = mk.scale %[[X]] {number = 1.000000e+00 : f64}
// CHECK-NEXT: return %[[Y]], %[[COPY]], %[[Y]]
// ERROR: argument 1 must have rows of floating-point numbers or one integer a row, not [1,4,?] f32
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %x: !x {mk.kind = "input", mk.name = "x"},
    %ids: !b {mk.kind = "input", mk.name = "ids"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> (!x, !x, !x) {
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %e = "torch.aten.embedding"(%table, %ids, %one, %no, %no) : (!table, !b, !torch.int, !torch.bool, !torch.bool) -> !x
  %y = "torch.aten.add.Tensor"(%x, %e, %one) : (!x, !x, !torch.int) -> !x
  return %y, %x, %y : !x, !x, !x
}
