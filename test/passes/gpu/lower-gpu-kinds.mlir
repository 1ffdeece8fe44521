// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests a product: each thread loads its fragments of the rows once, before the loop over tiles; of two tiles that have landed
// it reads its fragments, gives the slots back, and multiplies, two products a block; behind one barrier the sums of the
// eight warps are added in ascending order, a column a thread.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @w [@w] layout(tiles) : tensor<8x2048xbf16>
  mk_task.buffer @x domain(tokens) order(fragments) offset(0) : tensor<?x2048xf32>
  mk_task.buffer @y domain(tokens) offset(65536) : tensor<?x8xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(2) segments [#mk_task.segment<base = 0, limit = 8, outer = 2, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x2048xf32>, %w: tensor<8x2048xbf16>):
    %y = mk.linear %x, [%w] : (tensor<?x2048xf32>, tensor<8x2048xbf16>) -> tensor<?x8xf32>
    mk.yield %y : tensor<?x8xf32>
  }
  mk_task.family @a kind(@linear) [@x, @w] -> [@y]
}
}
// The ring has what is left of the shared memory, here 2 slots.
// CHECK: mk_task.program @step attributes {scratch = {{[0-9]+}} : i64}
// CHECK-LABEL: func.func private @linear
// CHECK-SAME: (%[[C:.*]]: !mk_cta.context, %[[I:.*]]: !mk_cta.instruction, {{.*}}, %[[SLOT:.*]]: i32, %[[PARITY:.*]]: i32, %[[USED:.*]]: i32) -> (i32, i32, i32)
// Four blocks of a warp, each of two segments of 32, of which a thread has 8 elements.
// CHECK: %[[X:.*]] = mk_cta.view %[[C]], "activations", %{{.*}} : memref<?x512xvector<4xi32>
// CHECK-COUNT-16: memref.load %[[X]]
// CHECK: scf.for {{.*}} iter_args(%[[S:.*]] = %[[SLOT]], %[[P:.*]] = %[[PARITY]], %[[U:.*]] = %[[USED]],
// CHECK-NOT: memref.load %[[X]]
// CHECK-COUNT-2: mk_cta.ring_await
// CHECK-COUNT-8: mk_cta.fragment
// CHECK-COUNT-2: mk_cta.ring_release
// CHECK-COUNT-16: mk_cta.mma
// CHECK-NOT: mk_cta.mma
// CHECK: nvvm.barrier
// CHECK: memref.load %[[SUMS:.*]][%[[B:.*]], %[[UNIT:.*]], %c0, %[[ROW:.*]], %[[COLUMN:.*]]] : memref<2x{{[0-9]+}}x8x8x4xf32, 3>
// CHECK-NEXT: memref.load %[[SUMS]][%[[B]], %[[UNIT]], %c1, %[[ROW]], %[[COLUMN]]]
// CHECK: memref.load %[[SUMS]][%[[B]], %[[UNIT]], %c7, %[[ROW]], %[[COLUMN]]]
// CHECK: memref.store %{{.*}} : memref<?x8xf32, strided<[16, 1]>, 1>
