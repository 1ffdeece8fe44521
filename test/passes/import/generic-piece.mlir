// Tests that a square which is no part of a norm is computed, with its mean, and that one in a norm is not.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/torch.aten.sqrt/torch.aten.rsqrt/; s/div.Tensor/mul.Tensor/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=NORM
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
!m = !torch.vtensor<[?,1],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[S:.*]] = mk.generic %[[X]] sizes [4] maps
// CHECK: arith.mulf
// CHECK: %[[T:.*]] = mk.generic %[[S]] sizes [4] reduce 1 by "sum"
// CHECK: math.sqrt
// NORM-NOT: mk.generic
// NORM: mk.rms_norm
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %zero = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %yes = "torch.constant.bool"() <{value = true}> : () -> !torch.bool
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %eps = "torch.constant.float"() <{value = 1.0e-5 : f64}> : () -> !torch.float
  %last = "torch.prim.ListConstruct"(%pad) : (!torch.int) -> !torch.list<int>
  %s = "torch.aten.square"(%x) : (!x) -> !x
  %m = "torch.aten.mean.dim"(%s, %last, %yes, %none) : (!x, !torch.list<int>, !torch.bool, !torch.none) -> !m
  %e = "torch.aten.add.Scalar"(%m, %eps, %one) : (!m, !torch.float, !torch.int) -> !m
  %q = "torch.aten.sqrt"(%e) : (!m) -> !m
  %y = "torch.aten.div.Tensor"(%x, %q) : (!x, !m) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
