// Tests that the largest logit of each block is found in the head's epilogue, but not of columns that are paired for a gate.
// RUN: mk-opt %s --mk-fuse-argmax | FileCheck %s
!x = tensor<?x64xf32>
!w = tensor<160x64xf32>
!l = tensor<?x160xf32>
!p = tensor<?x10xf32>

// CHECK-LABEL: @head
func.func @head(%x: !x, %w: !w) -> (!l, !p) {
  // CHECK: %[[Y:.*]]:2 = mk.linear {{.*}} -> (tensor<?x160xf32>, tensor<?x10xf32>) epilogue {
  // CHECK-NEXT: ^bb0(%[[ACC:.*]]: tensor<?x160xf32>):
  // CHECK-NEXT: %[[P:.*]] = mk.argmax_partial %[[ACC]] {block = 32 : i64}
  // CHECK-NEXT: mk.yield %[[ACC]], %[[P]]
  // CHECK: return %[[Y]]#0, %[[Y]]#1
  %l = mk.linear %x, [%w] : (!x, !w) -> !l
  %p = mk.argmax_partial %l {block = 32 : i64} : (!l) -> !p
  return %l, %p : !l, !p
}

// CHECK-LABEL: @gated
// CHECK: mk.yield %{{.*}} : tensor<?x160xf32>
// CHECK: mk.argmax_partial
func.func @gated(%x: !x, %w: !w) -> !p {
  %h = mk.linear %x, [%w, %w] : (!x, !w, !w) -> !l epilogue {
  ^bb0(%acc: tensor<?x320xf32>):
    %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x320xf32>) -> !l
    %u = mk.slice %acc {offset = 160 : i64} : (tensor<?x320xf32>) -> !l
    %h = mk.glu %g, %u : (!l, !l) -> !l
    mk.yield %h : !l
  }
  %p = mk.argmax_partial %h {block = 32 : i64} : (!l) -> !p
  return %p : !p
}
