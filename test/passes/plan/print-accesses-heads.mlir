// RUN: mk-opt %s --mk-build-table --mk-print-accesses -o /dev/null | FileCheck %s

// Tests that a task with one head of the queries and one of the keys reads these, writes the query's and stores the key's,
// but no value; and that units which cut a head read all of it.
// CHECK: "objects":[{"name":"the request",{{.*}}},{"name":"q",{{.*}}},{"name":"k",{{.*}}},{"name":"v",{{.*}}},{"name":"y",{{.*}}},{"name":"kv",
// CHECK: "name":"norm","units":[1,3],"waits":[],"ends":false,"signal":-1,"accesses":[{"object":0,
// CHECK-SAME: {"object":1,"write":false,"shares":false,"early":false,"columns":{{\[\[}}16,32]]},
// CHECK-SAME: {"object":2,"write":false,"shares":false,"early":false,"columns":{{\[\[}}0,16]]},
// CHECK-SAME: {"object":4,"write":true,"shares":false,"early":false,"columns":{{\[\[}}16,32]]},
// CHECK-SAME: {"object":5,"write":true,"shares":false,"early":false,"columns":{{\[\[}}0,16]]}]}
// CHECK: "name":"halves","units":[3,4],"waits":[],"ends":false,"signal":-1,"accesses":[{"object":0,
// CHECK-SAME: {"object":4,"write":false,"shares":false,"early":false,"columns":{{\[\[}}16,32]]},
// CHECK-SAME: {"object":1,"write":true,"shares":false,"early":false,"columns":{{\[\[}}20,24],[28,32]]}]}
#q = #mk_task.segment<base = 0, limit = 32, outer = 2, stride = 16, half = 8, partner = 8, whole = true>
#k = #mk_task.segment<base = 32, limit = 48, outer = 1, stride = 16, half = 8, partner = 8, whole = true>
#v = #mk_task.segment<base = 48, limit = 64, outer = 1, stride = 16, half = 8, partner = 8, whole = true>
#cut = #mk_task.segment<base = 0, limit = 32, outer = 2, stride = 16, half = 8, partner = 8>
!q = tensor<?x32xf32>
!k = tensor<?x16xf32>
!c = !mk.cache<1x16xf32>
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  mk_task.program @step {
    mk_task.buffer @p request domain(tokens) offset(0) : tensor<?xi32>
    mk_task.buffer @q domain(tokens) offset(0) : !q
    mk_task.buffer @k domain(tokens) offset(1024) : !k
    mk_task.buffer @v domain(tokens) offset(1536) : !k
    mk_task.buffer @y domain(tokens) offset(2048) : !q
    mk_task.weight @g [@g] layout(rows) offset(0) : tensor<16xf32>
    mk_task.cache @kv layer(0) : !c
    mk_task.kind @heads class(columns) domain(tokens) units(4) segments [#q, #k, #v] {
    ^bb0(%q: !q, %k: !k, %v: !k, %g: tensor<16xf32>, %c: !c, %p: tensor<?xi32>):
      %y:2 = mk.rowwise %q, %k, %v : (!q, !k, !k) -> (!q, !c) {
      ^bb0(%a: !q, %b: !k, %d: !k):
        %n = mk.head_norm %a, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!q, tensor<16xf32>) -> !q
        %m = mk.head_norm %b, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!k, tensor<16xf32>) -> !k
        %s = mk.kv_append %c, %m, %d, %p, %p : (!c, !k, !k, tensor<?xi32>, tensor<?xi32>) -> !c
        mk.yield %n, %s : !q, !c
      }
      mk.yield %y#0, %y#1 : !q, !c
    }
    mk_task.kind @cut class(columns) domain(tokens) units(4) segments [#cut] {
    ^bb0(%x: !q, %g: tensor<16xf32>):
      %y = mk.head_norm %x, %g {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (!q, tensor<16xf32>) -> !q
      mk.yield %y : !q
    }
    mk_task.family @norm kind(@heads) [@q, @k, @v, @g, @kv, @p] -> [@y, @kv]
    mk_task.family @halves kind(@cut) [@y, @g] -> [@q]
    mk_task.task @norm units(1, 3) worker(0) wait [] previous [] signal []
    mk_task.task @halves units(3, 4) worker(0) wait [] previous [] signal []
  }
}
