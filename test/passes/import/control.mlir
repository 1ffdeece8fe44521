// Tests that a choice by one boolean of the whole call becomes mk.choose, with what the predicate asks of all rows as
// mk.across_rows, and that a boolean for each row is no such choice.
// RUN: sed 's/PREDICATE/p/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s
// RUN: sed 's/PREDICATE/r/; s/torch.vtensor<\[\],i1>, !x, !x/torch.vtensor<[?],i1>, !x, !x/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ROWS
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!r = !torch.vtensor<[?],f32>
!s = !torch.vtensor<[],f32>
// CHECK: %[[LARGEST:.*]] = mk.generic %[[X:.*]] sizes [4] reduce 1 by "max"
// CHECK: %[[ALL:.*]] = mk.across_rows %[[LARGEST]] {how = "min"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
// CHECK: %[[TRUTH:.*]] = mk.generic %[[ALL]] sizes []
// CHECK: arith.cmpf ogt
// CHECK: %[[TWICE:.*]] = mk.scale %[[X]]
// CHECK: mk.choose %{{.*}}, %[[TWICE]], %[[X]] : (tensor<?x1xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
// ROWS: 'torch.mk.choose'{{.*}}: no conversion to mk: the predicate must be one boolean of the whole call
func.func @step(%x: !x {mk.kind = "input", mk.name = "x"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %two = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %half = "torch.constant.float"() <{value = 5.0e-01 : f64}> : () -> !torch.float
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %most = "torch.constant.int"() <{value = 65536 : i64}> : () -> !torch.int
  %how = "torch.constant.str"() <{value = "min"}> : () -> !torch.str
  %dims = "torch.prim.ListConstruct"(%one) : (!torch.int) -> !torch.list<int>
  %largest = "torch.aten.amax"(%x, %dims, %no) : (!x, !torch.list<int>, !torch.bool) -> !r
  %all = "torch.operator"(%largest, %how, %most) <{name = "torch.mk.across_rows"}> : (!r, !torch.str, !torch.int) -> !s
  %p = "torch.aten.gt.Scalar"(%all, %half) : (!s, !torch.float) -> !torch.vtensor<[],i1>
  %r = "torch.aten.gt.Scalar"(%largest, %half) : (!r, !torch.float) -> !torch.vtensor<[?],i1>
  %twice = "torch.aten.mul.Scalar"(%x, %two) : (!x, !torch.int) -> !x
  %y = "torch.operator"(%PREDICATE, %twice, %x) <{name = "torch.mk.choose"}> : (!torch.vtensor<[],i1>, !x, !x) -> !x
  return %y : !x
}
