// Tests that a norm over the columns of each head is recognised before and after the heads are transposed, but not one over
// the heads of each column.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/%%back = .*/%%back = "torch.aten.transpose.int"(%%x, %%two, %%three) : (!h, !torch.int, !torch.int) -> !h/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[1,?,16],f32>
!h = !torch.vtensor<[1,?,4,4],f32>
!m = !torch.vtensor<[1,?,4,1],f32>
!t = !torch.vtensor<[1,4,?,4],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[G:.*]] = mk.weight @norm.weight : tensor<4xf32>
// CHECK: %[[N:.*]] = mk.head_norm %[[X]], %[[G]] {eps = 9.9999999999999995E-7 : f64, head_dim = 4 : i64}
// CHECK: %[[M:.*]] = mk.head_norm %[[N]], %[[G]] {eps = 1.000000e-05 : f64, head_dim = 4 : i64}
// CHECK: mk.select_rows %[[M]]
// OTHER-NOT: mk.head_norm
// OTHER: mk.generic
func.func @step(%table: !torch.vtensor<[8,16],f32> {mk.kind = "parameter", mk.name = "embed"},
    %gain: !torch.vtensor<[4],f32> {mk.kind = "parameter", mk.name = "norm.weight"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !torch.vtensor<[?,16],f32> {
  %none = "torch.constant.none"() : () -> !torch.none
  %zero = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %two = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %three = "torch.constant.int"() <{value = 3 : i64}> : () -> !torch.int
  %last = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %yes = "torch.constant.bool"() <{value = true}> : () -> !torch.bool
  %eps = "torch.constant.float"() <{value = 1.0e-6 : f64}> : () -> !torch.float
  %eps5 = "torch.constant.float"() <{value = 1.0e-5 : f64}> : () -> !torch.float
  %e = "torch.aten.embedding"(%table, %tokens, %last, %no, %no) : (!torch.vtensor<[8,16],f32>, !i, !torch.int, !torch.bool, !torch.bool) -> !torch.vtensor<[?,16],f32>
  %size = "torch.prim.ListConstruct"(%one, %last, %three, %three) : (!torch.int, !torch.int, !torch.int, !torch.int) -> !torch.list<int>
  %x = "torch.aten.view"(%e, %size) : (!torch.vtensor<[?,16],f32>, !torch.list<int>) -> !h
  %back = "torch.aten.contiguous"(%x, %zero) : (!h, !torch.int) -> !h
  %square = "torch.aten.pow.Tensor_Scalar"(%back, %two) : (!h, !torch.int) -> !h
  %dims = "torch.prim.ListConstruct"(%last) : (!torch.int) -> !torch.list<int>
  %mean = "torch.aten.mean.dim"(%square, %dims, %yes, %none) : (!h, !torch.list<int>, !torch.bool, !torch.none) -> !m
  %sum = "torch.aten.add.Scalar"(%mean, %eps, %one) : (!m, !torch.float, !torch.int) -> !m
  %rms = "torch.aten.rsqrt"(%sum) : (!m) -> !m
  %scaled = "torch.aten.mul.Tensor"(%back, %rms) : (!h, !m) -> !h
  %n = "torch.aten.mul.Tensor"(%gain, %scaled) : (!torch.vtensor<[4],f32>, !h) -> !h loc("model.q_norm")
  %t = "torch.aten.transpose.int"(%n, %one, %two) : (!h, !torch.int, !torch.int) -> !t
  %shape = "torch.prim.ListConstruct"(%three) : (!torch.int) -> !torch.list<int>
  %four = "torch.constant.int"() <{value = 4 : i64}> : () -> !torch.int
  %width = "torch.prim.ListConstruct"(%four) : (!torch.int) -> !torch.list<int>
  %m = "torch.aten.rms_norm"(%t, %width, %gain, %eps5) : (!t, !torch.list<int>, !torch.vtensor<[4],f32>, !torch.float) -> !t
  %u = "torch.aten.transpose.int"(%m, %one, %two) : (!t, !torch.int, !torch.int) -> !h
  %flat = "torch.aten.view"(%u, %shape) : (!h, !torch.list<int>) -> !torch.vtensor<[?,16],f32>
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%flat, %list) : (!torch.vtensor<[?,16],f32>, !torch.list<vtensor>) -> !torch.vtensor<[?,16],f32>
  return %r : !torch.vtensor<[?,16],f32>
}
