// Tests that a layer norm is recognised whole and written out, and not if it centers by the mean of something else.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/sub.Tensor"(%%n, %%mean/sub.Tensor"(%%x, %%mean/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!v = !torch.vtensor<[4],f32>
!one = !torch.vtensor<[?,1],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: %[[N:.*]] = mk.layer_norm %{{.*}} bias %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x4xf32>, tensor<4xf32>)
// CHECK: %[[Y:.*]] = mk.layer_norm %[[N]] gain %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x4xf32>, tensor<4xf32>)
// CHECK-NEXT: mk.select_rows %[[Y]]
// OTHER: mk.layer_norm
// OTHER-NOT: mk.layer_norm
// OTHER: mk.generic
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %v: !v {mk.kind = "parameter", mk.name = "v"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %keep = "torch.constant.bool"() <{value = true}> : () -> !torch.bool
  %two = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %four = "torch.constant.int"() <{value = 4 : i64}> : () -> !torch.int
  %eps = "torch.constant.float"() <{value = 1.0e-05 : f64}> : () -> !torch.float
  %shape = "torch.prim.ListConstruct"(%four) : (!torch.int) -> !torch.list<int>
  %last = "torch.prim.ListConstruct"(%pad) : (!torch.int) -> !torch.list<int>
  %n = "torch.aten.layer_norm"(%x, %shape, %none, %v, %eps, %no) : (!x, !torch.list<int>, !torch.none, !v, !torch.float, !torch.bool) -> !x
  %mean = "torch.aten.mean.dim"(%n, %last, %keep, %none) : (!x, !torch.list<int>, !torch.bool, !torch.none) -> !one
  %c = "torch.aten.sub.Tensor"(%n, %mean, %one) : (!x, !one, !torch.int) -> !x loc("norm")
  %sq = "torch.aten.pow.Tensor_Scalar"(%c, %two) : (!x, !torch.int) -> !x
  %var = "torch.aten.mean.dim"(%sq, %last, %keep, %none) : (!x, !torch.list<int>, !torch.bool, !torch.none) -> !one
  %vareps = "torch.aten.add.Scalar"(%var, %eps, %one) : (!one, !torch.float, !torch.int) -> !one
  %inv = "torch.aten.rsqrt"(%vareps) : (!one) -> !one
  %unit = "torch.aten.mul.Tensor"(%c, %inv) : (!x, !one) -> !x
  %y = "torch.aten.mul.Tensor"(%v, %unit) : (!v, !x) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
