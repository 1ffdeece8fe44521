// Tests that slices of all columns and of slices fold away, but not where one of them rounds.
// RUN: mk-opt %s --canonicalize | FileCheck %s

// CHECK-LABEL: @fold
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>)
func.func @fold(%x: tensor<?x64xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %0 = mk.slice %x {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = mk.slice %0 {offset = 16 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
  // CHECK: %[[Y:.*]] = mk.slice %[[X]] {offset = 20 : i64} : (tensor<?x64xf32>) -> tensor<?x8xf32>
  %2 = mk.slice %1 {offset = 4 : i64} : (tensor<?x32xf32>) -> tensor<?x8xf32>
  // CHECK: %[[ROUNDED:.*]] = mk.slice %[[X]] {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  %3 = mk.slice %x {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
  // CHECK: %[[Z:.*]] = mk.slice %[[ROUNDED]] {offset = 8 : i64} : (tensor<?x64xbf16>) -> tensor<?x8xf32>
  %4 = mk.slice %3 {offset = 8 : i64} : (tensor<?x64xbf16>) -> tensor<?x8xf32>
  // CHECK: return %[[Y]], %[[Z]]
  return %2, %4 : tensor<?x8xf32>, tensor<?x8xf32>
}
