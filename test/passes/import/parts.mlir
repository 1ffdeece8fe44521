// Tests that chunks of rows are neighbouring columns and that a join with nothing is no join; a part of the rows is refused.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/chunk"(%%x, %%two, %%pad)/chunk"(%%x, %%two, %%zero)/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!half = !torch.vtensor<[?,2],f32>
!empty = !torch.vtensor<[?,0],f32>
!table = !torch.vtensor<[8,4],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK-NEXT: %[[A:.*]] = mk.slice %[[X]] {offset = 0 : i64} : (tensor<?x4xf32>) -> tensor<?x2xf32>
// CHECK-NEXT: %[[B:.*]] = mk.slice %[[X]] {offset = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x2xf32>
// CHECK-NEXT: %[[Y:.*]] = mk.mul %[[A]], %[[B]]
// CHECK-NEXT: mk.select_rows %[[Y]]
// ERROR: 'torch.prim.ListUnpack' at layers.0.mlp: no conversion to mk
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !half {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %zero = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %one = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %two = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %chunks = "torch.aten.chunk"(%x, %two, %pad) : (!x, !torch.int, !torch.int) -> !torch.list<vtensor>
  %c:2 = "torch.prim.ListUnpack"(%chunks) : (!torch.list<vtensor>) -> (!half, !half) loc("layers.0.mlp")
  %rest = "torch.aten.slice.Tensor"(%c#0, %one, %two, %none, %one) : (!half, !torch.int, !torch.int, !torch.none, !torch.int) -> !empty
  %both = "torch.prim.ListConstruct"(%c#0, %rest) : (!half, !empty) -> !torch.list<vtensor>
  %a = "torch.aten.cat"(%both, %pad) : (!torch.list<vtensor>, !torch.int) -> !half
  %y = "torch.aten.mul.Tensor"(%a, %c#1) : (!half, !half) -> !half
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!half, !torch.list<vtensor>) -> !half
  return %r : !half
}
