// RUN: mk-opt %s --mk-build-table --mk-print-accesses -o /dev/null | FileCheck %s

// Tests that a gated linear reads its input whole and writes one column for two of its accumulators. Every task reads the
// request; the weight is no access.
// CHECK: {"program":"step","objects":[{"name":"the request",{{.*}}},{"name":"x","space":1,"begin":0,"end":512,"columns":16,"flagged":false,"forwarded":false},
// CHECK-SAME: "workers":{{\[\[}}{"family":0,"name":"gate_up","units":[1,2],"waits":[],"ends":false,"signal":-1,"accesses":[
// CHECK-SAME: {"object":0,"write":false,"shares":false,"early":false,"columns":{{\[\[}}0,1]]},
// CHECK-SAME: {"object":1,"write":false,"shares":false,"early":false,"columns":{{\[\[}}0,16]]},
// CHECK-SAME: {"object":2,"write":true,"shares":false,"early":false,"columns":{{\[\[}}4,8]]}]}]]}
#s = #mk_task.segment<base = 0, limit = 16, outer = 1, stride = 16, half = 8, partner = 8>
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x16xf32>
    mk_task.buffer @y domain(tokens) offset(512) : tensor<?x8xf32>
    mk_task.weight @w [@gate, @up] layout(tiles) : tensor<16x16xf32>
    mk_task.kind @glu class(tiles) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x16xf32>, %w: tensor<16x16xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x16xf32>, tensor<16x16xf32>) -> tensor<?x8xf32> epilogue {
      ^bb0(%acc: tensor<?x16xf32>):
        %gate = mk.slice %acc {offset = 0 : i64} : (tensor<?x16xf32>) -> tensor<?x8xf32>
        %up = mk.slice %acc {offset = 8 : i64} : (tensor<?x16xf32>) -> tensor<?x8xf32>
        %h = mk.glu %gate, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
        mk.yield %h : tensor<?x8xf32>
      }
      mk.yield %y : tensor<?x8xf32>
    }
    mk_task.family @gate_up kind(@glu) [@x, @w] -> [@y]
    mk_task.task @gate_up units(1, 2) worker(0) wait [] previous [] signal [] stream(0)
  }
}
