// RUN: mk-opt %s --mk-build-table --mk-print-accesses -o /dev/null | FileCheck %s

// Tests that a product with experts reads its rows and the route whole, and writes its columns of each chosen expert: 4 of 8
// for each of two, although its accumulators are 8 of 16.
// CHECK: {"program":"step","objects":[{"name":"the request",{{.*}}},{"name":"x",{{.*}}},{"name":"r",{{.*}}},{"name":"y",{{.*}}"columns":16,
// CHECK-SAME: {"object":1,"write":false,"shares":false,"early":false,"columns":{{\[\[}}0,16]]},
// CHECK-SAME: {"object":2,"write":false,"shares":false,"early":false,"columns":{{\[\[}}0,3]]},
// CHECK-SAME: {"object":3,"write":true,"shares":false,"early":false,"columns":{{\[\[}}4,8],[12,16]]}]}]]}
#s = #mk_task.segment<base = 0, limit = 16, outer = 1, stride = 16, half = 8, partner = 8>
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @r domain(tokens) offset(512) : tensor<?x3xf32>
    mk_task.buffer @y domain(tokens) offset(1024) : tensor<?x16xf32>
    mk_task.weight @w [@w] layout(tiles) : tensor<3x16x16xf32>
    mk_task.kind @up class(experts) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>, %w: tensor<3x16x16xf32>, %r: tensor<?x3xf32>):
      %y = mk.moe_linear %x, %r, %w {chosen = 2 : i64} : (tensor<?x16xf32>, tensor<?x3xf32>, tensor<3x16x16xf32>) -> tensor<?x16xf32> epilogue {
      ^bb0(%acc: tensor<?x16xf32>):
        %gate = mk.slice %acc {offset = 0 : i64} : (tensor<?x16xf32>) -> tensor<?x8xf32>
        %up = mk.slice %acc {offset = 8 : i64} : (tensor<?x16xf32>) -> tensor<?x8xf32>
        %h = mk.glu %gate, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
        mk.yield %h : tensor<?x8xf32>
      }
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @a kind(@up) [@x, @w, @r] -> [@y]
    mk_task.task @a units(1, 2) worker(0) wait [] previous [] signal [] stream(0)
  }
}
