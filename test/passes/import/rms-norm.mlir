// Tests that a root mean square norm is recognised by its arithmetic, but not with the mean over another dimension.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/(%%last)/(%%first)/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!m = !torch.vtensor<[?,1],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[G:.*]] = mk.weight @norm.weight : tensor<4xf32>
// CHECK: %[[N:.*]] = mk.rms_norm %[[X]], %[[G]] {eps = 1.000000e-05 : f64}
// CHECK-NEXT: mk.select_rows %[[N]]
// ERROR: 'torch.aten.mean.dim' at model.norm: no conversion to mk: the mean of a norm must run over the columns of a row
// ERROR-SAME: (operand 0 is [?,4] f32, a square)
// ERROR-NOT: no conversion to mk
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %gain: !torch.vtensor<[4],f32> {mk.kind = "parameter", mk.name = "norm.weight"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %two = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %first = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %last = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %yes = "torch.constant.bool"() <{value = true}> : () -> !torch.bool
  %eps = "torch.constant.float"() <{value = 1.0e-5 : f64}> : () -> !torch.float
  %square = "torch.aten.pow.Tensor_Scalar"(%x, %two) : (!x, !torch.int) -> !x
  %dims = "torch.prim.ListConstruct"(%last) : (!torch.int) -> !torch.list<int>
  %mean = "torch.aten.mean.dim"(%square, %dims, %yes, %none) : (!x, !torch.list<int>, !torch.bool, !torch.none) -> !m loc("model.norm")
  %sum = "torch.aten.add.Scalar"(%mean, %eps, %one) : (!m, !torch.float, !torch.int) -> !m
  %rms = "torch.aten.rsqrt"(%sum) : (!m) -> !m
  %scaled = "torch.aten.mul.Tensor"(%rms, %x) : (!m, !x) -> !x
  %n = "torch.aten.mul.Tensor"(%gain, %scaled) : (!torch.vtensor<[4],f32>, !x) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%n, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
