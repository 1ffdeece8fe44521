// RUN: mk-opt %s --mk-lower-gpu-kinds | FileCheck %s

// Tests that a thread runs the loop over the reductions of its column, and waits for each flagged word that it reads there.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x flagged domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x4xf32>
  mk_task.kind @generic class(columns) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 4, outer = 1, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>):
    // CHECK-LABEL: func.func private @generic
    // CHECK: scf.for
    // CHECK: scf.for %{{.*}} = %{{.*}} to %c16{{.*}} iter_args
    // CHECK: mk_cta.load_flagged
    // CHECK: scf.while
    // CHECK: arith.addf
    // CHECK: memref.store
    %y = mk.generic %x sizes [4, 16] reduce 1 by "sum" maps [affine_map<(d0, d1) -> (d1 * 4 + d0)>]
      : (tensor<?x64xf32>) -> tensor<?x4xf32> {
    ^bb0(%a: f32):
      mk.yield %a : f32
    }
    mk.yield %y : tensor<?x4xf32>
  }
  mk_task.family @f kind(@generic) [@x] -> [@y]
}
}
