// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that a linear without a prologue multiplies the rows where they are, and stages nothing.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<32x64xf32>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(8192) : tensor<?x32xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<32x64xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
}
}
// Only the accumulators of 12 rows are private.
// CHECK: mk_task.program @step attributes {scratch = 1536 : i64}
// CHECK-LABEL: func.func private @linear
// CHECK: %[[X:.*]] = mk_cta.view %{{.*}}, "activations", %{{.*}} : memref<?x64xf32
// CHECK-NOT: vector.store
// CHECK: mk_cta.matmul %{{.*}}, %[[X]][
