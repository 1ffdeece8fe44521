// Tests that a router's probabilities, the largest of them, and these divided by their sum become one route; without the
// division it is not normalized, and the weights of other experts than the chosen ones are refused.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=bf16 %s | FileCheck %s
// RUN: sed 's/%%idx, %%norm,/%%idx, %%val,/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=bf16 | FileCheck %s --check-prefix=PLAIN
// RUN: sed 's/%%idx, %%norm,/%%idx, %%sum,/; s/!e, !k, !up/!e, !one, !up/' %s | not mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=bf16 2>&1 | FileCheck %s --check-prefix=ERROR
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!k = !torch.vtensor<[?,2],f32>
!one = !torch.vtensor<[?,1],f32>
!e = !torch.vtensor<[?,2],si64>
!table = !torch.vtensor<[8,4],f32>
!up = !torch.vtensor<[3,12,4],f32>
!down = !torch.vtensor<[3,4,6],f32>
!l = !torch.vtensor<[?,3],f32>
// CHECK: %[[X:.*]] = mk.embedding
// CHECK: %[[L:.*]] = mk.linear %[[X]]
// CHECK-NEXT: %[[R:.*]] = mk.topk_route %[[L]] {chosen = 2 : i64, normalize}
// CHECK-NEXT: %[[UP:.*]] = mk.weight @up : tensor<3x12x4xbf16>
// CHECK-NEXT: %[[H:.*]] = mk.moe_linear %[[X]], %[[R]], %[[UP]] {chosen = 2 : i64} {{.*}} -> tensor<?x12xf32> epilogue
// CHECK: mk.glu
// CHECK: %[[DOWN:.*]] = mk.weight @down : tensor<3x4x6xbf16>
// CHECK-NEXT: mk.moe_combine %[[H]], %[[R]], %[[DOWN]] {chosen = 2 : i64} {{.*}} -> tensor<?x4xf32>
// PLAIN: mk.topk_route %{{.*}} {chosen = 2 : i64} :
// ERROR: 'torch.mk.experts'{{.*}}: no conversion to mk: the experts of a row must be those of the largest of its router's logits
func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"}, %router: !torch.vtensor<[3,4],f32> {mk.kind = "parameter", mk.name = "router"},
    %up: !up {mk.kind = "parameter", mk.name = "up"}, %down: !down {mk.kind = "parameter", mk.name = "down"},
    %tokens: !i {mk.kind = "user_input", mk.name = "tokens"}, %positions: !i {mk.kind = "user_input", mk.name = "positions"},
    %slots: !i {mk.kind = "user_input", mk.name = "slots"}, %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
  %none = "torch.constant.none"() : () -> !torch.none
  %last = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
  %two = "torch.constant.int"() <{value = 2 : i64}> : () -> !torch.int
  %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
  %yes = "torch.constant.bool"() <{value = true}> : () -> !torch.bool
  %silu = "torch.constant.str"() <{value = "silu"}> : () -> !torch.str
  %x = "torch.aten.embedding"(%table, %tokens, %last, %no, %no) : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
  %logits = "torch.aten.linear"(%x, %router, %none) : (!x, !torch.vtensor<[3,4],f32>, !torch.none) -> !l
  %p = "torch.aten.softmax.int"(%logits, %last, %none) : (!l, !torch.int, !torch.none) -> !l
  %val, %idx = "torch.aten.topk"(%p, %two, %last, %yes, %yes) : (!l, !torch.int, !torch.int, !torch.bool, !torch.bool) -> (!k, !e)
  %dims = "torch.prim.ListConstruct"(%last) : (!torch.int) -> !torch.list<int>
  %sum = "torch.aten.sum.dim_IntList"(%val, %dims, %yes, %none) : (!k, !torch.list<int>, !torch.bool, !torch.none) -> !one
  %norm = "torch.aten.div.Tensor"(%val, %sum) : (!k, !one) -> !k
  %y = "torch.operator"(%x, %idx, %norm, %up, %down, %silu) <{name = "torch.mk.experts"}> : (!x, !e, !k, !up, !down, !torch.str) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
