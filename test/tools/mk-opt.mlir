// RUN: mk-opt --show-dialects | FileCheck %s --check-prefix=DIALECTS
// RUN: mk-opt --help | FileCheck %s --check-prefix=HELP
// RUN: mk-opt %s --mk-fuse-pipeline="norm=false" | FileCheck %s

// Tests that mk-opt knows the three dialects with those below them, the passes of every stage and the pipelines with
// their options.

// DIALECTS: arith
// DIALECTS-SAME: llvm
// DIALECTS-SAME: mk,mk_cta,mk_task
// DIALECTS-SAME: vector
// HELP-DAG: --convert-torch-to-mk
// HELP-DAG: --mk-fuse-norm
// HELP-DAG: --mk-verify-schedule
// HELP-DAG: --mk-lower-matmul
// HELP-DAG: --canonicalize
// HELP-DAG: --mk-import-pipeline
// HELP-DAG: --mk-fuse-pipeline
// HELP-DAG: --mk-plan-pipeline
// HELP-DAG: --mk-cta-pipeline
// HELP-DAG: --mk-cpu-pipeline
// CHECK-LABEL: func.func @step
// CHECK: mk.rms_norm
// CHECK-NOT: prologue
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
func.func @step(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %g = mk.weight @g : tensor<8xf32>
  %w = mk.weight @w : tensor<8x8xf32>
  %0 = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %1 = mk.linear %0, [%w] : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}
}
