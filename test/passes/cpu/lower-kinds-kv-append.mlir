// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that the epilogue of a key and value projection turns the key (two groups, half a head apart, as real and
// imaginary part), writes it in words of two elements that lie a page apart, and the value as a row.

module attributes {mk.target = #mk.target<kind = "cpu", features = "avx512bf16", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @positions request domain(tokens) offset(512) : tensor<?xi32>
  mk_task.buffer @slots request domain(tokens) offset(576) : tensor<?xi32>
  mk_task.cache @kv layer(0) : !mk.cache<1x32xbf16>
  mk_task.weight @w [@k, @v] layout(tiles) : tensor<64x64xbf16>
  mk_task.weight @freq [@freq] layout(rows) offset(0) : tensor<16xf32>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xbf16>
  mk_task.kind @append class(tiles) domain(tokens) units(2)
    segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>,
              #mk_task.segment<base = 32, limit = 64, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%x: tensor<?x64xbf16>, %w: tensor<64x64xbf16>, %f: tensor<16xf32>, %old: !mk.cache<1x32xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>):
    %new = mk.linear %x, [%w] : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> !mk.cache<1x32xbf16> epilogue {
    ^bb0(%acc: tensor<?x64xf32>):
      %k = mk.slice %acc {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
      %v = mk.slice %acc {offset = 32 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
      %r = mk.rope %k, %p, %f {head_dim = 32 : i64} : (tensor<?x32xf32>, tensor<?xi32>, tensor<16xf32>) -> tensor<?x32xf32>
      %c = mk.kv_append %old, %r, %v, %p, %s : (!mk.cache<1x32xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<1x32xbf16>
      mk.yield %c : !mk.cache<1x32xbf16>
    }
    mk.yield %new : !mk.cache<1x32xbf16>
  }
  mk_task.family @a kind(@append) [@x, @w, @freq, @kv, @positions, @slots] -> [@kv]
}
}
// CHECK-LABEL: func.func private @append
// CHECK: arith.sitofp %{{.*}} : i32 to f32
// CHECK: %[[A:.*]] = mk_cta.view %{{.*}}, "kv", %{{.*}} : memref<16x16xi32
// CHECK-COUNT-8: memref.store %{{.*}}, %[[A]]
// CHECK: %[[B:.*]] = mk_cta.view %{{.*}}, "kv", %{{.*}} : memref<16x16xi32
// CHECK-COUNT-8: memref.store %{{.*}}, %[[B]]
// CHECK: mk_cta.matmul
// CHECK-NOT: arith.sitofp
// CHECK: mk_cta.view %{{.*}}, "kv", %{{.*}} : memref<16x32xbf16
