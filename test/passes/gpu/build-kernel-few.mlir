// RUN: sed s/MOST/16/ %s | mk-opt --mk-build-kernel | FileCheck %s
// RUN: sed s/MOST/8/ %s | mk-opt --mk-build-kernel | FileCheck %s --check-prefix=ONE

// Tests that steps of at most eight tokens have a kernel of their own if there are larger ones: it calls the bodies for few
// tokens of the kinds that have them, which are products.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = MOST, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @product(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  func.func private @product.8(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  func.func private @other(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  mk_task.program @step {
    mk_task.kind @product class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
    ^bb0(%x: tensor<?x32xf32>, %w: tensor<4x32xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x32xf32>, tensor<4x32xbf16>) -> tensor<?x4xf32>
      mk.yield %y : tensor<?x4xf32>
    }
    mk_task.kind @other class(columns) domain(tokens) units(1) {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    mk_task.table counts [0, 0] kinds [@product, @other] families [] events [] words dense<-1> : tensor<2x1x32xi32>
  }
}
// CHECK: func.func @mk_main(
// CHECK: call @product(
// CHECK: call @other(
// CHECK: func.func @mk_main_8(
// CHECK: call @product.8(
// CHECK: call @other(
// ONE: func.func @mk_main(
// ONE: call @product(
// ONE-NOT: @mk_main_8(
