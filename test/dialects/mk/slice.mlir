// Tests that mk.slice takes columns that its input has.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @slice
func.func @slice(%x: tensor<?x64xf32>) {
  // CHECK: mk.slice %{{.*}} {offset = 48 : i64} : (tensor<?x64xf32>) -> tensor<?x16xf32>
  %0 = mk.slice %x {offset = 48 : i64} : (tensor<?x64xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{'mk.slice' op expected columns within the 64 of its input, found 16 from column 56}}
  %0 = mk.slice %x {offset = 56 : i64} : (tensor<?x64xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{found 16 from column -8}}
  %0 = mk.slice %x {offset = -8 : i64} : (tensor<?x64xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>) {
  // expected-error @+1 {{found 16 from column 9223372036854775807}}
  %0 = mk.slice %x {offset = 9223372036854775807 : i64} : (tensor<?x64xf32>) -> tensor<?x16xf32>
  return
}
