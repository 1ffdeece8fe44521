// Tests that booleans are counted across rows while float32 holds every count, and refused where it may not.
// RUN: sed 's/MOST/16777216/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s
// RUN: sed 's/MOST/16777217/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=MANY
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!r = !torch.vtensor<[?],i1>
!p = !torch.vtensor<[],i1>
// CHECK: mk.across_rows %{{.*}} {how = "sum"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
// CHECK: mk.choose
// MANY: 'torch.mk.across_rows'{{.*}}: no conversion to mk: arithmetic of integers that float32 may not hold exactly
func.func @step(%x: !x {mk.kind = "input", mk.name = "x"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %half = "torch.constant.float"() <{value = 5.0e-01 : f64}> : () -> !torch.float
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %how = "torch.constant.str"() <{value = "sum"}> : () -> !torch.str
  %most = "torch.constant.int"() <{value = MOST : i64}> : () -> !torch.int
  %above = "torch.aten.gt.Scalar"(%x, %half) : (!x, !torch.float) -> !torch.vtensor<[?,4],i1>
  %any = "torch.aten.any.dim"(%above, %one, %no) : (!torch.vtensor<[?,4],i1>, !torch.int, !torch.bool) -> !r
  %count = "torch.operator"(%any, %how, %most) <{name = "torch.mk.across_rows"}> : (!r, !torch.str, !torch.int) -> !torch.vtensor<[],si64>
  %p = "torch.aten.gt.Scalar"(%count, %one) : (!torch.vtensor<[],si64>, !torch.int) -> !p
  %twice = "torch.aten.mul.Scalar"(%x, %half) : (!x, !torch.float) -> !x
  %y = "torch.operator"(%p, %twice, %x) <{name = "torch.mk.choose"}> : (!p, !x, !x) -> !x
  return %y : !x
}
