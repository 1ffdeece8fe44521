// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that a task of a linear first writes the norm of its rows into the worker's scratch, then multiplies each tile by
// 12, 4 or 1 rows at a time, and adds the residual to accumulators on their way to memory: no row goes there in between.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<32x64xf32>
  mk_task.weight @gain [@gain] layout(rows) offset(0) : tensor<64xf32>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @r domain(tokens) offset(4096) : tensor<?x32xf32>
  mk_task.buffer @y domain(tokens) offset(8192) : tensor<?x32xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%x: tensor<?x64xf32>, %w: tensor<32x64xf32>, %g: tensor<64xf32>, %r: tensor<?x32xf32>):
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> prologue {
    ^bb0(%row: tensor<?x64xf32>):
      %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
      mk.yield %n : tensor<?x64xf32>
    } epilogue {
    ^bb0(%acc: tensor<?x32xf32>):
      %s = mk.add %acc, %r : (tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %s : tensor<?x32xf32>
    }
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w, @gain, @r] -> [@y]
}
}
// CHECK: mk_task.program @step attributes {scratch = 5632 : i64}
// CHECK-LABEL: func.func private @linear(%{{.*}}: !mk_cta.context, %{{.*}}: !mk_cta.instruction, %{{.*}}: index)
// CHECK: %[[R:.*]] = mk_cta.view %{{.*}}, "activations", %{{.*}} : memref<?x32xf32
// CHECK: %[[STAGED:.*]] = mk_cta.view %{{.*}}, "scratch", %{{.*}} : memref<16x64xf32
// CHECK: math.sqrt
// CHECK: vector.store %{{.*}}, %[[STAGED]]
// CHECK: %[[TILE:.*]] = mk_cta.view %{{.*}}, "stream", %{{.*}} : memref<64x2x16xf32
// CHECK: mk_cta.matmul %[[TILE]], %[[STAGED]][%{{.*}}], %[[ACC:.*]] {count = 12 : i64}
// CHECK: mk_cta.matmul %[[TILE]], %[[STAGED]][%{{.*}}], %[[ACC]] {count = 4 : i64}
// CHECK: mk_cta.matmul %[[TILE]], %[[STAGED]][%{{.*}}], %[[ACC]] {count = 1 : i64}
// CHECK: %[[A:.*]] = vector.load %[[ACC]][
// CHECK: %[[B:.*]] = vector.load %[[R]][
// CHECK: arith.addf %[[A]], %[[B]]
