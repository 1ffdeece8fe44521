// Tests that a written-out activation becomes the operations it is written in, and another power a mk.generic.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/value = 3.0/value = 5.0/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK-NEXT: %[[S:.*]] = mk.mul %[[X]], %[[X]]
// CHECK-NEXT: %[[C:.*]] = mk.mul %[[S]], %[[X]]
// CHECK-NEXT: %[[A:.*]] = mk.scale %[[C]] {number = 2.500000e-01 : f64}
// CHECK-NEXT: %[[B:.*]] = mk.tanh %[[A]]
// CHECK-NEXT: %[[D:.*]] = mk.shift %[[B]] {number = 3.000000e+00 : f64}
// CHECK-NEXT: %[[E:.*]] = mk.gelu_tanh %[[D]]
// CHECK-NEXT: %[[Y:.*]] = mk.sub %[[E]], %[[X]]
// CHECK-NEXT: mk.select_rows %[[Y]]
// OTHER: mk.generic %{{.*}} sizes [4]
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %three = "torch.constant.float"() <{value = 3.0 : f64}> : () -> !torch.float
  %four = "torch.constant.float"() <{value = 4.0 : f64}> : () -> !torch.float
  %more = "torch.constant.int"() <{value = 3 : i64}> : () -> !torch.int
  %form = "torch.constant.str"() <{value = "tanh"}> : () -> !torch.str
  %c = "torch.aten.pow.Tensor_Scalar"(%x, %three) : (!x, !torch.float) -> !x loc("layers.0.mlp.act")
  %a = "torch.aten.div.Scalar"(%c, %four) : (!x, !torch.float) -> !x
  %b = "torch.aten.tanh"(%a) : (!x) -> !x
  %d = "torch.aten.add.Scalar"(%b, %more, %one) : (!x, !torch.int, !torch.int) -> !x
  %e = "torch.aten.gelu"(%d, %form) : (!x, !torch.str) -> !x
  %y = "torch.aten.sub.Tensor"(%e, %x, %one) : (!x, !x, !torch.int) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
