// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s

// Tests that a page of keys is the tile of a product whose rows are all query heads and tokens that share it, at most 24 at
// a time, then 12, then 1; and that half a head that is no whole number of words is refused.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.buffer @slots request domain(tokens) offset(576) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<2x16xf32>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x144xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(1) {
  ^bb0(%q: tensor<?x64xf32>, %c: !mk.cache<2x16xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>):
    %y = mk.attend %q, %c, %p, %s {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    mk.yield %y : tensor<?x144xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @positions, @slots] -> [@y]
}
}
// CHECK-LABEL: func.func private @attend
// CHECK: %[[KEYS:.*]] = mk_cta.view %{{.*}}, "kv", %{{.*}} : memref<16x1x16xf32
// CHECK: mk_cta.matmul %[[KEYS]], %[[Q:.*]][%{{.*}}], %{{.*}} {count = 24 : i64}
// CHECK: mk_cta.matmul %[[KEYS]], %[[Q]][%{{.*}}], %{{.*}} {count = 12 : i64}
// CHECK: mk_cta.matmul %[[KEYS]], %[[Q]][%{{.*}}], %{{.*}} {count = 1 : i64}

// -----
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @p request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<1x10xbf16>
  mk_task.buffer @q domain(tokens) offset(0) : tensor<?x10xf32>
  mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x24xf32>
  mk_task.kind @attend class(attend) domain(tokens) units(1) {
  ^bb0(%q: tensor<?x10xf32>, %c: !mk.cache<1x10xbf16>, %p: tensor<?xi32>):
    // expected-error@+1 {{expects half heads of whole words, a page of whole registers and a split of whole pages}}
    %y = mk.attend %q, %c, %p, %p {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x10xf32>, !mk.cache<1x10xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x24xf32>
    mk.yield %y : tensor<?x24xf32>
  }
  mk_task.family @a kind(@attend) [@q, @kv, @p] -> [@y]
}
}
