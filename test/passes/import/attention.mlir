// Tests that the attention operator becomes a cache, an append and an attention over heads, with its window, the cap of its
// scores and its sinks, which must be one for each query head.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/%%zero, %%softcap, %%none)/%%window, %%cap, %%two)/;s/torch.float, !torch.none)/torch.float, !v2)/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=WINDOW
// RUN: sed 's/%%softcap, %%none)/%%softcap, %%three)/;s/torch.float, !torch.none)/torch.float, !v3)/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 2>&1 | FileCheck %s --check-prefix=ERROR
!v2 = !torch.vtensor<[2],f32>
!v3 = !torch.vtensor<[3],f32>
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!table = !torch.vtensor<[8,4],f32>
!q = !torch.vtensor<[1,2,?,2],f32>
!n = !torch.vtensor<[1,?,2,2],f32>
// CHECK: func.func @step(%{{.*}}, %[[P:.*]]: tensor<?xi32> {mk.name = "positions"}, %[[S:.*]]: tensor<?xi32> {mk.name = "slots"}
// CHECK: %[[X:.*]] = mk.embedding
// CHECK-NEXT: %[[C:.*]] = mk.kv_cache {layer = 3 : i64} : !mk.cache<2x2xf32>
// CHECK-NEXT: %[[A:.*]] = mk.kv_append %[[C]], %[[X]], %[[X]], %[[P]], %[[S]]
// CHECK-NEXT: %[[Y:.*]] = mk.attention %[[X]], %[[A]], %[[P]], %[[S]] {scale = 5.000000e-01 : f64}
// CHECK-NEXT: mk.select_rows %[[Y]]
// WINDOW: %[[SINKS:.*]] = mk.weight @two : tensor<2xf32>
// WINDOW: mk.attention {{.*}}, %[[SINKS]] {scale = 5.000000e-01 : f64, softcap = 3.000000e+01 : f64, window = 16 : i64}
// ERROR: 'torch.mk.attention' at layers.3.self_attn: no conversion to mk: the sinks must be a parameter with one number for each query head
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %two: !v2 {mk.kind = "parameter", mk.name = "two"},
    %three: !v3 {mk.kind = "parameter", mk.name = "three"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %zero = "torch.constant.int"() <{value = 0 : i64}> : () -> !torch.int
  %i1 = "torch.constant.int"() <{value = 1 : i64}> : () -> !torch.int
  %i2 = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %layer = "torch.constant.int"() <{value = 3 : i64}> : () -> !torch.int
  %window = "torch.constant.int"() <{value = 16 : i64}> : () -> !torch.int
  %scale = "torch.constant.float"() <{value = 0.5 : f64}> : () -> !torch.float
  %softcap = "torch.constant.float"() <{value = 0.0 : f64}> : () -> !torch.float
  %cap = "torch.constant.float"() <{value = 30.0 : f64}> : () -> !torch.float
  %sizes = "torch.prim.ListConstruct"(%i1, %pad, %i2, %i2) : (!torch.int, !torch.int, !torch.int, !torch.int) -> !torch.list<int>
  %heads = "torch.aten.view"(%x, %sizes) : (!x, !torch.list<int>) -> !n
  %q = "torch.aten.transpose.int"(%heads, %i1, %i2) : (!n, !torch.int, !torch.int) -> !q
  %o = "torch.operator"(%q, %q, %q, %positions, %slots, %layer, %scale, %zero, %softcap, %none) <{name = "torch.mk.attention"}> : (!q, !q, !q, !i, !i, !torch.int, !torch.float, !torch.int, !torch.float, !torch.none) -> !n loc("layers.3.self_attn")
  %y = "torch.aten.reshape"(%o, %sizes) : (!n, !torch.list<int>) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
