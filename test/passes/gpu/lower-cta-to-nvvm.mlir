// RUN: mk-opt %s --mk-lower-cta-to-nvvm --split-input-file --verify-diagnostics | FileCheck %s

// Tests that a product of fragments is one instruction of the tensor cores, and that an op of a CPU is refused.

// CHECK-LABEL: func.func @product
// CHECK: llvm.call_intrinsic "llvm.nvvm.mma.m16n8k16.row.col.bf16"
// CHECK-SAME: (i32, i32, i32, i32, i32, i32, f32, f32, f32, f32) -> !llvm.struct<(f32, f32, f32, f32)>
func.func @product(%a: vector<4xi32>, %b: vector<2xi32>, %acc: vector<4xf32>) -> vector<4xf32> {
  %sums = mk_cta.mma %a, %b, %acc : vector<4xi32>, vector<2xi32>, vector<4xf32>
  return %sums : vector<4xf32>
}

// -----
func.func @wait(%context: !mk_cta.context, %n: index) {
  // expected-error@+1 {{'mk_cta.wait' op has no lowering to nvvm: expected it to be gone before this pass}}
  mk_cta.wait %context, %n, %n, %n
  return
}
