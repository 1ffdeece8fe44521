// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests the bodies of control: a reduction over the rows of a step has the words of all rows under way before it looks at
// one, joins them in ascending order, and writes every row; a choice looks at the predicate first, and only then, in a
// branch, at the rows of the side that is taken.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @c flagged domain(tokens) offset(0) : tensor<?x1xf32>
  mk_task.buffer @p flagged domain(tokens) offset(4096) : tensor<?x1xf32>
  mk_task.buffer @a flagged domain(tokens) offset(8192) : tensor<?x64xf32>
  mk_task.buffer @b flagged domain(tokens) offset(16384) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(24576) : tensor<?x64xf32>
  mk_task.kind @ask class(serial) domain(tokens) units(1) {
  ^bb0(%c: tensor<?x1xf32>):
    %p = mk.across_rows %c {how = "min"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
    mk.yield %p : tensor<?x1xf32>
  }
  mk_task.kind @choose class(columns) domain(tokens) units(16) segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
  ^bb0(%p: tensor<?x1xf32>, %a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
    %y = mk.choose %p, %a, %b : (tensor<?x1xf32>, tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %y : tensor<?x64xf32>
  }
  mk_task.family @asked kind(@ask) [@c] -> [@p]
  mk_task.family @chosen kind(@choose) [@p, @a, @b] -> [@y]
}
}
// CHECK-LABEL: func.func private @ask(
// CHECK: mk_cta.clear_flagged
// CHECK-COUNT-8: mk_cta.load_flagged
// CHECK: scf.while
// CHECK: mk_cta.look_again
// CHECK: arith.minimumf
// CHECK-NEXT: arith.cmpi sgt, %[[COUNT:.*]], %c1_i32
// CHECK-NEXT: arith.select
// CHECK: arith.cmpi sgt, %[[COUNT]], %c7_i32
// CHECK: scf.for
// CHECK: mk_cta.store_flagged
// CHECK-LABEL: func.func private @choose(
// CHECK: mk_cta.load_flagged {{.*}} : memref<?x1xi32
// CHECK: arith.cmpf une
// CHECK: scf.if {{.*}} -> (f32) {
// CHECK: mk_cta.load_flagged {{.*}} : memref<?x64xi32
// CHECK: } else {
// CHECK: mk_cta.load_flagged {{.*}} : memref<?x64xi32
// CHECK: memref.store
