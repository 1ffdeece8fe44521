// RUN: mk-opt %s --mk-round-norm-rows | FileCheck %s

// Tests that a norm before a product reads rows that were rounded where they were made, beside the float32 rows for others;
// an embedding is looked up once more for it. A norm that is not the last before its product keeps its rows.

!x = tensor<?x64xf32>
!w = tensor<64x64xbf16>
// CHECK-LABEL: func.func @step
func.func @step(%t: tensor<9x64xbf16>, %i: tensor<?xi32>, %w: !w, %g: tensor<64xf32>) -> (!x, !x) {
  // CHECK: %[[X:.*]] = mk.embedding {{.*}} -> tensor<?x64xf32>
  // CHECK: %[[X16:.*]] = mk.embedding {{.*}} -> tensor<?x64xbf16>
  %x = mk.embedding %t, %i : (tensor<9x64xbf16>, tensor<?xi32>) -> !x
  // CHECK: %[[Y:.*]]:2 = mk.linear %[[X16]], {{.*}} -> (tensor<?x64xf32>, tensor<?x64xbf16>) prologue {
  // CHECK: ^bb0(%{{.*}}: tensor<?x64xbf16>):
  // CHECK: mk.add %{{.*}}, %[[X]]
  %y = mk.linear %x, [%w] : (!x, !w) -> !x prologue {
  ^bb0(%row: !x):
    %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (!x, tensor<64xf32>) -> !x
    mk.yield %n : !x
  } epilogue {
  ^bb0(%acc: !x):
    %a = mk.add %acc, %x : (!x, !x) -> !x
    mk.yield %a : !x
  }
  // CHECK: %[[Z:.*]] = mk.linear %[[Y]]#1, {{.*}} -> tensor<?x64xf32> prologue {
  %z = mk.linear %y, [%w] : (!x, !w) -> !x prologue {
  ^bb0(%row: !x):
    %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (!x, tensor<64xf32>) -> !x
    mk.yield %n : !x
  }
  // CHECK: mk.linear %[[Z]], {{.*}} : (tensor<?x64xf32>,
  %u = mk.linear %z, [%w] : (!x, !w) -> !x prologue {
  ^bb0(%row: !x):
    %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (!x, tensor<64xf32>) -> !x
    %s = mk.silu %n : (!x) -> !x
    mk.yield %s : !x
  }
  // CHECK: return %{{.*}}, %[[Y]]#0
  return %u, %y : !x, !x
}
