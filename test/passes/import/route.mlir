// Tests that the probabilities of the largest logits alone are a normalized route, times a factor; the smallest logits are
// none, nor are the logits themselves.
// RUN: mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 %s | FileCheck %s
// RUN: sed 's/%%last, %%yes, %%yes)/%%last, %%no, %%yes)/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
// RUN: sed 's/%%idx, %%norm,/%%idx, %%top,/' %s | mk-opt --allow-unregistered-dialect --convert-torch-to-mk=weight-type=f32 | FileCheck %s --check-prefix=OTHER
// CHECK: mk.topk_route %{{.*}} {chosen = 2 : i64, normalize, scale = 2.500000e+00 : f64}
// OTHER-NOT: mk.topk_route
// OTHER: mk.generic {{.*}} sizes [3, 2] reduce 1 by "sum"
// OTHER: mk.moe_linear
!i = !torch.vtensor<[?],si64>
!x = !torch.vtensor<[?,4],f32>
!k = !torch.vtensor<[?,2],f32>
!e = !torch.vtensor<[?,2],si64>
!table = !torch.vtensor<[8,4],f32>
!up = !torch.vtensor<[3,12,4],f32>
!down = !torch.vtensor<[3,4,6],f32>
!l = !torch.vtensor<[?,3],f32>
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
  %f = "torch.constant.float"() <{value = 2.5 : f64}> : () -> !torch.float
  %top, %idx = "torch.aten.topk"(%logits, %two, %last, %yes, %yes) : (!l, !torch.int, !torch.int, !torch.bool, !torch.bool) -> (!k, !e)
  %p = "torch.aten.softmax.int"(%top, %last, %none) : (!k, !torch.int, !torch.none) -> !k
  %norm = "torch.aten.mul.Scalar"(%p, %f) : (!k, !torch.float) -> !k
  %y = "torch.operator"(%x, %idx, %norm, %up, %down, %silu) <{name = "torch.mk.experts"}> : (!x, !e, !k, !up, !down, !torch.str) -> !x
  %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
  %r = "torch.aten.index.Tensor"(%y, %list) : (!x, !torch.list<vtensor>) -> !x
  return %r : !x
}
