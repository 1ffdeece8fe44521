// Tests that the fuse stage leaves four linears and one attend of a Llama layer, and of the head one linear and its choice.
// RUN: mk-opt %s --mk-add-sampler --mk-split-attention --mk-split-argmax --mk-concat-linears --mk-fuse-norm --mk-fuse-combine \
// RUN:   --mk-fuse-slice --mk-fuse-residual --mk-fuse-rope --mk-fuse-glu --mk-fuse-argmax --mk-narrow-activations | FileCheck %s
!i = tensor<?xi32>
!x = tensor<?x64xf32>
!k = tensor<?x32xf32>
!h = tensor<?x96xf32>
!g = tensor<64xf32>
!f = tensor<8xf32>
!w = tensor<64x64xbf16>
!wk = tensor<32x64xbf16>
!wg = tensor<96x64xbf16>
!wd = tensor<64x96xbf16>
!we = tensor<160x64xbf16>
!c = !mk.cache<2x16xbf16>
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>,
                   mk.options = #mk.options<max_length = 64, page = 32, split = 32>} {
func.func @step(%tokens: !i, %positions: !i, %slots: !i, %rows: !i, %g: !g, %f: !f, %w: !w, %wk: !wk, %wg: !wg, %wd: !wd,
                %we: !we) -> tensor<?x160xf32> {
  // CHECK: %[[X:.*]] = mk.embedding
  %x = mk.embedding %we, %tokens : (!we, !i) -> !x
  %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  // CHECK: %[[Q:.*]]:2 = mk.linear %[[X]], {{.*}} -> (tensor<?x64xbf16>, !mk.cache<2x16xbf16>) prologue
  %q = mk.linear %n, [%w] : (!x, !w) -> !x
  %k = mk.linear %n, [%wk] : (!x, !wk) -> !k
  %v = mk.linear %n, [%wk] : (!x, !wk) -> !k
  %rq = mk.rope %q, %positions, %f {head_dim = 16 : i64} : (!x, !i, !f) -> !x
  %rk = mk.rope %k, %positions, %f {head_dim = 16 : i64} : (!k, !i, !f) -> !k
  %c = mk.kv_cache {layer = 0 : i64} : !c
  %c1 = mk.kv_append %c, %rk, %v, %positions, %slots : (!c, !k, !k, !i, !i) -> !c
  // CHECK: {{^    }}%[[P:.*]] = mk.attend %[[Q]]#0, %[[Q]]#1
  %a = mk.attention %rq, %c1, %positions, %slots {scale = 0.25 : f64} : (!x, !c, !i, !i) -> !x
  // CHECK-NEXT: %[[X1:.*]] = mk.linear %[[P]], {{.*}} -> tensor<?x64xf32> prologue
  %o = mk.linear %a, [%w] : (!x, !w) -> !x
  // CHECK: epilogue {
  // CHECK: mk.add %[[X]], %
  %x1 = mk.add %x, %o : (!x, !x) -> !x
  %n1 = mk.rms_norm %x1, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  // CHECK: %[[H:.*]] = mk.linear %[[X1]], {{.*}} -> tensor<?x96xbf16> prologue
  %gate = mk.linear %n1, [%wg] : (!x, !wg) -> !h
  %up = mk.linear %n1, [%wg] : (!x, !wg) -> !h
  %h = mk.glu %gate, %up : (!h, !h) -> !h
  // CHECK: {{^    }}%[[X2:.*]] = mk.linear %[[H]], {{.*}} -> tensor<?x64xf32> epilogue
  %d = mk.linear %h, [%wd] : (!h, !wd) -> !x
  // CHECK: mk.add %[[X1]], %
  %x2 = mk.add %x1, %d : (!x, !x) -> !x
  %n2 = mk.rms_norm %x2, %g {eps = 1.0e-5 : f64} : (!x, !g) -> !x
  %s = mk.select_rows %n2, %rows : (!x, !i) -> !x
  // CHECK: {{^    }}%[[L:.*]]:2 = mk.linear %[[X2]], {{.*}} -> (tensor<?x160xf32>, tensor<?x10xf32>) prologue
  %logits = mk.linear %s, [%we] : (!x, !we) -> tensor<?x160xf32>
  // CHECK: {{^    }}%[[T:.*]] = mk.argmax_reduce %[[L]]#1
  // CHECK-NEXT: %[[NEXT:.*]] = mk.sample %[[L]]#0, %[[T]]
  // CHECK-NEXT: mk.advance %[[NEXT]]
  // CHECK-NEXT: return %[[L]]#0
  return %logits : tensor<?x160xf32>
}
}
