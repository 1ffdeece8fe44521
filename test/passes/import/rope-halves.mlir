// Tests that a rotation of halves one by one is recognised, but not when a half turns the wrong way or into itself.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/aten.sub/aten.add/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
// RUN: sed 's/(%%b, %%sin)/(%%a, %%sin)/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!half = !torch.vtensor<[?,2],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: func.func @step(%{{.*}}, %[[POSITIONS:.*]]: tensor<?xi32> {mk.name = "positions"}
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[F:.*]] = mk.weight @inv_freq : tensor<2xf32>
// CHECK-NEXT: %[[R:.*]] = mk.rope %[[X]], %[[POSITIONS]], %[[F]] {head_dim = 4 : i64}
// CHECK-NEXT: mk.select_rows %[[R]]
// OTHER-NOT: mk.rope
// OTHER: mk.generic
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %freq: !torch.vtensor<[2],f32> {mk.kind = "buffer", mk.name = "inv_freq"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %i1 = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %i2 = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %p1 = "torch.aten.unsqueeze"(%positions, %i1) : (!i, !torch.int) -> !torch.vtensor<[?,1],si64>
  %p = "torch.aten.type_as"(%p1, %freq) : (!torch.vtensor<[?,1],si64>, !torch.vtensor<[2],f32>) -> !torch.vtensor<[?,1],f32>
  %angles = "torch.aten.mul.Tensor"(%p, %freq) : (!torch.vtensor<[?,1],f32>, !torch.vtensor<[2],f32>) -> !half
  %cos = "torch.aten.cos"(%angles) : (!half) -> !half
  %sin = "torch.aten.sin"(%angles) : (!half) -> !half
  %a = "torch.aten.slice.Tensor"(%x, %i1, %none, %i2, %i1) : (!x, !torch.int, !torch.none, !torch.int, !torch.int) -> !half
  %b = "torch.aten.slice.Tensor"(%x, %i1, %i2, %none, %i1) : (!x, !torch.int, !torch.int, !torch.none, !torch.int) -> !half
  %ac = "torch.aten.mul.Tensor"(%a, %cos) : (!half, !half) -> !half
  %bs = "torch.aten.mul.Tensor"(%b, %sin) : (!half, !half) -> !half
  %bc = "torch.aten.mul.Tensor"(%b, %cos) : (!half, !half) -> !half
  %as = "torch.aten.mul.Tensor"(%sin, %a) : (!half, !half) -> !half
  %first = "torch.aten.sub.Tensor"(%ac, %bs, %i1) : (!half, !half, !torch.int) -> !half loc("layers.0.self_attn")
  %second = "torch.aten.add.Tensor"(%bc, %as, %i1) : (!half, !half, !torch.int) -> !half
  %halves = "torch.prim.ListConstruct"(%first, %second) : (!half, !half) -> !torch.list<vtensor>
  %y = "torch.aten.cat"(%halves, %pad) : (!torch.list<vtensor>, !torch.int) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
