// RUN: mk-opt %s --mk-mark-kernels | FileCheck %s

// Tests that a function with the mark becomes an entry point of one CTA a multiprocessor, and one without it stays as it is.

// CHECK: llvm.func @main() attributes {nvvm.kernel, nvvm.maxntid = array<i32: 288>, nvvm.minctasm = 1 : i32}
llvm.func @main() attributes {mk.kernel = 288 : i32} {
  llvm.return
}
// CHECK: llvm.func @body() {
llvm.func @body() {
  llvm.return
}
