// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that the tiles of an expert are read only where a row has chosen it, and that sums over experts stay in private
// memory until the last of them.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<3x32x64xf32>
  mk_task.buffer @h domain(tokens) offset(0) : tensor<?x128xf32>
  mk_task.buffer @r domain(tokens) offset(8192) : tensor<?x3xf32>
  mk_task.buffer @y domain(tokens) offset(16384) : tensor<?x32xf32>
  mk_task.kind @combine class(experts) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%h: tensor<?x128xf32>, %w: tensor<3x32x64xf32>, %r: tensor<?x3xf32>):
    %y = mk.moe_combine %h, %r, %w {chosen = 2 : i64} : (tensor<?x128xf32>, tensor<?x3xf32>, tensor<3x32x64xf32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@combine) [@h, @w, @r] -> [@y]
}
}
// CHECK-LABEL: func.func private @combine
// CHECK: %[[Y:.*]] = mk_cta.view %{{.*}}, "activations", %{{.*}} : memref<?x32xf32
// CHECK: scf.for
// CHECK: arith.cmpf une
// CHECK: scf.if
// CHECK: %[[ANY:.*]] = arith.cmpi sgt, %{{.*}}, %c0
// CHECK-NEXT: scf.if %[[ANY]] {
// CHECK: mk_cta.view %{{.*}}, "stream"
// CHECK: mk_cta.matmul {{.*}}count = 12
// CHECK: math.fma
// CHECK-NOT: vector.store %{{.*}}, %[[Y]]
// CHECK: {{^    }$}}
// CHECK: vector.store %{{.*}}, %[[Y]]
