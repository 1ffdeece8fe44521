// RUN: mk-opt %s --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s

// Tests that with a window of 20 a range of two blocks is walked from the block in which the window begins, that a warp whose
// positions are all before it does nothing, and that a position before it weighs nothing. Capped scores take one more
// exponential and quotient each.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.buffer @slots request domain(tokens) offset(576) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<2x32xbf16>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x128xf32>
  mk_task.buffer @k domain(tokens) offset(4096) : tensor<?x64xbf16>
  mk_task.buffer @v domain(tokens) offset(8192) : tensor<?x64xbf16>
  mk_task.buffer @y domain(tokens) order(ranges) offset(12288) : tensor<?x272xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(2) {
  ^bb0(%q: tensor<?x128xf32>, %c: !mk.cache<2x32xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>, %k: tensor<?x64xbf16>, %v: tensor<?x64xbf16>):
    %y = mk.attend %q, %c, %p, %s, %k, %v {scale = 0.25 : f64, split = 256 : i64, splits = 2 : i64, window = 20 : i64, softcap = 0.5 : f64}
      : (tensor<?x128xf32>, !mk.cache<2x32xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x272xf32>
    mk.yield %y : tensor<?x272xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots, @k, @v] -> [@y]
}
}
// CHECK-LABEL: func.func private @attend
// CHECK: %[[SEEN:.*]] = arith.subi %{{.*}}, %c19_i32 : i32
// CHECK: %[[SKIPPED:.*]] = arith.divui %{{.*}}, %c128_i32 : i32
// CHECK: %[[BLOCKS:.*]] = arith.divui %{{.*}}, %c128_i32 : i32
// CHECK: scf.for %{{.*}} = %[[SKIPPED]] to %[[BLOCKS]]
// CHECK: %[[BEFORE:.*]] = arith.cmpi slt, %{{.*}}, %[[END:.*]] : i32
// CHECK: %[[BEHIND:.*]] = arith.cmpi slt, %[[BEGIN:.*]], %{{.*}} : i32
// CHECK: arith.andi %{{.*}}, %[[BEHIND]]
// CHECK: mk_cta.mma
// CHECK: %[[BEHIND:.*]] = arith.cmpi slt, %[[BEGIN]], %{{.*}} : i32
// CHECK-NEXT: %[[EXISTS:.*]] = arith.andi %{{.*}}, %[[BEHIND]]
// CHECK: ex2.approx
// CHECK: rcp.approx
// CHECK: arith.select %[[EXISTS]]
