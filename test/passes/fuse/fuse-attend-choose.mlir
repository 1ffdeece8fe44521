// RUN: mk-opt %s --mk-fuse-attend | FileCheck %s

// Tests that heads stay in front of attention where a side of a choice may need them: a store behind it would run in any case.

!x = tensor<?x64xf32>
!i = tensor<?xi32>
!c = !mk.cache<1x64xbf16>
!p = tensor<?x132xf32>
// CHECK-LABEL: func.func @step
func.func @step(%q: !x, %k: !x, %one: tensor<?x1xf32>, %o: !p, %positions: !i, %slots: !i, %g: tensor<64xf32>) -> !p {
  %c = mk.kv_cache {layer = 0 : i64} : !c
  // CHECK: %[[N:.*]] = mk.head_norm
  %n = mk.head_norm %k, %g {head_dim = 64 : i64, eps = 1.0e-6 : f64} : (!x, tensor<64xf32>) -> !x
  // CHECK-NEXT: %[[D:.*]] = mk.kv_append %{{.*}}, %[[N]]
  %d = mk.kv_append %c, %n, %k, %positions, %slots : (!c, !x, !x, !i, !i) -> !c
  // CHECK-NEXT: mk.attend %{{.*}}, %[[D]]
  %p = mk.attend %q, %d, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64} : (!x, !c, !i, !i) -> !p
  %y = mk.choose %one, %p, %o : (tensor<?x1xf32>, !p, !p) -> !p
  return %y : !p
}
