// RUN: mk-opt %s | mk-opt | FileCheck %s

// Tests that every op of the dialect prints as it is parsed, with and without its optional parts.
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>} {
  // CHECK: mk_task.program @step attributes {activations = 64 : i64, params = 64 : i64, scratch = 0 : i64, stream = 8192 : i64}
  mk_task.program @step attributes {activations = 64 : i64, params = 64 : i64, scratch = 0 : i64, stream = 8192 : i64} {
    // CHECK-NEXT: mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>
    mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>
    // CHECK-NEXT: mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(0) : tensor<?x64xf32>
    // CHECK: mk_task.buffer @image input domain(tokens) record(320) offset(64) : tensor<?x64xf32>
    mk_task.buffer @image input domain(tokens) record(320) offset(64) : tensor<?x64xf32>
    // CHECK: mk_task.cache @kv0 layer(0) : !mk.cache<2x16xbf16>
    mk_task.cache @kv0 layer(0) : !mk.cache<2x16xbf16>
    // CHECK-NEXT: mk_task.weight @w [@a, @b] layout(tiles) gathered offset(0)
    // CHECK-SAME: segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>]
    // CHECK-SAME: tile_offsets [0, 64] : tensor<64x64xf32>
    mk_task.weight @w [@a, @b] layout(tiles) gathered offset(0)
      segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>]
      tile_offsets [0, 64] : tensor<64x64xf32>
    // CHECK-NEXT: mk_task.kind @linear class(tiles) domain(tokens) units(2) segments [
    mk_task.kind @linear class(tiles) domain(tokens) units(2)
      segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>] {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
    // CHECK: mk_task.family @proj kind(@linear) [@x, @w] -> [@y]
    mk_task.family @proj kind(@linear) [@x, @w] -> [@y]
    // CHECK-NEXT: mk_task.event @done arrivals(1)
    mk_task.event @done arrivals(1)
    // CHECK-NEXT: mk_task.task @proj units(0, 1) worker(0) wait [] previous [@done] signal [@done] stream(0)
    mk_task.task @proj units(0, 1) worker(0) wait [] previous [@done] signal [@done] stream(0)
    // CHECK-NEXT: mk_task.task @proj units(1, 2) worker(1) wait [@done] previous [] signal []
    mk_task.task @proj units(1, 2) worker(1) wait [@done] previous [] signal []
    // CHECK-NEXT: mk_task.table counts [0] kinds [@linear] families [@proj] events [@done] words dense<-1> : tensor<1x1x32xi32>
    mk_task.table counts [0] kinds [@linear] families [@proj] events [@done] words dense<-1> : tensor<1x1x32xi32>
  }
}
