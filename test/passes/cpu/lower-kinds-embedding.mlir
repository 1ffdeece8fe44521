// RUN: mk-opt %s --mk-lower-kinds --canonicalize --cse | FileCheck %s

// Tests that a table in rows is read a register at a time, and one that lies in tiles, as it is also the head's weight,
// element by element at the place of the token's tile.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 16, bandwidth = 30>, mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @tokens request domain(tokens) offset(448) : tensor<?xi32>
  mk_task.weight @rows [@rows] layout(rows) offset(0) : tensor<40x32xf32>
  mk_task.weight @tiles [@tiles] layout(tiles) gathered offset(0) : tensor<40x32xbf16>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x32xf32>
  mk_task.kind @from_rows class(columns) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%t: tensor<40x32xf32>, %tokens: tensor<?xi32>):
    %y = mk.embedding %t, %tokens : (tensor<40x32xf32>, tensor<?xi32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.kind @from_tiles class(columns) domain(tokens) units(1) segments [#mk_task.segment<base = 0, limit = 32, outer = 1, stride = 32, half = 16, partner = 16>] {
  ^bb0(%t: tensor<40x32xbf16>, %tokens: tensor<?xi32>):
    %y = mk.embedding %t, %tokens : (tensor<40x32xbf16>, tensor<?xi32>) -> tensor<?x32xf32>
    mk.yield %y : tensor<?x32xf32>
  }
  mk_task.family @a kind(@from_rows) [@rows, @tokens] -> [@x]
  mk_task.family @b kind(@from_tiles) [@tiles, @tokens] -> [@x]
}
}
// CHECK-LABEL: func.func private @from_rows
// CHECK: %[[TABLE:.*]] = mk_cta.view %{{.*}}, "params", %{{.*}} : memref<?x32xf32, strided<[32, 1]>>
// CHECK: %[[TOKEN:.*]] = memref.load %{{.*}} : memref<?xi32
// CHECK: vector.load %[[TABLE]][{{.*}}] : {{.*}}, vector<16xf32>
// CHECK-NOT: "stream"
// CHECK-LABEL: func.func private @from_tiles
// CHECK: %[[PLACES:.*]] = mk_cta.view %{{.*}}, "params", %{{.*}} : memref<?xi32
// CHECK: memref.load %[[PLACES]][
// CHECK: %[[TILE:.*]] = mk_cta.view %{{.*}}, "stream", %{{.*}} : memref<?xbf16
// CHECK: memref.load %[[TILE]][
// CHECK: arith.extf %{{.*}} : bf16 to f32
