// RUN: mk-opt %s --mk-lower-cta-to-llvm --split-input-file --verify-diagnostics

// Tests that a product that mk-lower-matmul has not seen is refused, and a module without a target.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>} {
  func.func @matmul(%tile: memref<4x2x16xf32>, %rows: memref<?x4xf32>, %n: index, %acc: memref<1x2x16xf32>) {
    // expected-error@+1 {{'mk_cta.matmul' op has no lowering to llvm: expected it to be gone before this pass}}
    mk_cta.matmul %tile, %rows[%n], %acc {count = 1 : i64} : memref<4x2x16xf32>, memref<?x4xf32>, memref<1x2x16xf32>
    return
  }
}

// -----
// expected-error@+1 {{expected the machine in the module attribute mk.target, found none}}
module {
}
