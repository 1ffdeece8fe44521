// Tests that linears of the same rows and kind of weights become one, three biases at most, but not those that differ in
// input, type or region.
// RUN: mk-opt %s --mk-concat-linears | FileCheck %s
!x = tensor<?x64xf32>
!y = tensor<?x96xf32>

// CHECK-LABEL: @gate_up
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[G:.*]]: tensor<96x64xf32>)
func.func @gate_up(%x: !x, %g: tensor<96x64xf32>) -> (!y, tensor<?x32xf32>) {
  // CHECK: %[[U:.*]] = mk.weight @up
  // CHECK: %[[GU:.*]] = mk.linear %[[X]], [%[[G]], %[[U]]] : {{.*}} -> tensor<?x128xf32>
  // CHECK-DAG: %[[GATE:.*]] = mk.slice %[[GU]] {offset = 0 : i64} : (tensor<?x128xf32>) -> tensor<?x96xf32>
  // CHECK-DAG: %[[UP:.*]] = mk.slice %[[GU]] {offset = 96 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
  // CHECK: mk.silu %[[GATE]]
  // CHECK: return %{{.*}}, %[[UP]]
  %gate = mk.linear %x, [%g] : (!x, tensor<96x64xf32>) -> !y
  %a = mk.silu %gate : (!y) -> !y
  %u = mk.weight @up : tensor<32x64xf32>
  %up = mk.linear %x, [%u] : (!x, tensor<32x64xf32>) -> tensor<?x32xf32>
  return %a, %up : !y, tensor<?x32xf32>
}

// CHECK-LABEL: @unlike
// CHECK-NOT: mk.slice
// CHECK: return
func.func @unlike(%x: !x, %z: !x, %a: tensor<96x64xf32>, %b: tensor<96x64xbf16>) -> (!y, !y, !y, !y) {
  %0 = mk.linear %x, [%a] : (!x, tensor<96x64xf32>) -> !y
  %1 = mk.linear %z, [%a] : (!x, tensor<96x64xf32>) -> !y
  %2 = mk.linear %x, [%b] : (!x, tensor<96x64xbf16>) -> !y
  %3 = mk.linear %x, [%a] : (!x, tensor<96x64xf32>) -> !y epilogue {
  ^bb0(%acc: !y):
    %s = mk.silu %acc : (!y) -> !y
    mk.yield %s : !y
  }
  return %0, %1, %2, %3 : !y, !y, !y, !y
}

// CHECK-LABEL: @biases
// CHECK-COUNT-2: mk.linear
// CHECK-NOT: mk.linear
func.func @biases(%x: !x, %w: tensor<96x64xf32>, %c: tensor<96xf32>) -> (!y, !y, !y, !y) {
  %0 = mk.linear %x, [%w] : (!x, tensor<96x64xf32>) -> !y
  %1 = mk.linear %x, [%w] : (!x, tensor<96x64xf32>) -> !y
  %2 = mk.linear %x, [%w] : (!x, tensor<96x64xf32>) -> !y
  %3 = mk.linear %x, [%w] : (!x, tensor<96x64xf32>) -> !y
  %4 = mk.add %0, %c : (!y, tensor<96xf32>) -> !y
  %5 = mk.add %1, %c : (!y, tensor<96xf32>) -> !y
  %6 = mk.add %2, %c : (!y, tensor<96xf32>) -> !y
  %7 = mk.add %3, %c : (!y, tensor<96xf32>) -> !y
  return %4, %5, %6, %7 : !y, !y, !y, !y
}
