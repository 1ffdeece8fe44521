// Tests that attention may see up to a position that an input says, while keys go to the step's positions; and that no
// computed position is taken.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/%%last, %%slots, %%zero/%%more, %%slots, %%zero/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[1,?,4],f32>
!h = !torch.vtensor<[1,1,?,4],f32>
!a = !torch.vtensor<[1,?,1,4],f32>
// CHECK: func.func @step(%{{[^:]*}}: tensor<?xi32> {mk.name = "tokens"}, %[[P:[^:]*]]: {{.*}}, %[[S:[^:]*]]: {{.*}}, {{.*}}, %[[X:[^:]*]]: {{.*}}, %[[LAST:[^:]*]]: tensor<?xi32> {mk.input
// CHECK: mk.kv_append %{{.*}}, %[[X]], %[[X]], %[[P]], %[[S]]
// CHECK: mk.attention %[[X]], %{{.*}}, %[[LAST]], %[[S]]
// ERROR: 'torch.mk.attention'{{.*}}: no conversion to mk: the positions and slots must be inputs of the step
func.func @step(%x: !x {mk.kind = "input", mk.name = "x"}, %last: !i {mk.kind = "input", mk.name = "last"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !a {
  %zero = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %scale = "torch.constant.float"() <{value = 5.0e-01 : f64}> : () -> !torch.float
  %cap = "torch.constant.float"() <{value = 0.0 : f64}> : () -> !torch.float
  %none = "torch.constant.none"() : () -> !torch.none
  %more = "torch.aten.add.Scalar"(%last, %one, %one) : (!i, !torch.int, !torch.int) -> !i
  %h = "torch.aten.unsqueeze"(%x, %zero) : (!x, !torch.int) -> !h
  %y = "torch.operator"(%h, %h, %h, %last, %slots, %zero, %scale, %zero, %cap, %none) <{name = "torch.mk.attention"}> : (!h, !h, !h, !i, !i, !torch.int, !torch.float, !torch.int, !torch.float, !torch.none) -> !a
  return %y : !a
}
