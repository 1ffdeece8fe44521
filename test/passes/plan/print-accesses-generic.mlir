// Tests that a unit of a generated task may read every column of its rows, and writes its own.
// RUN: mk-opt %s --mk-build-table --mk-print-accesses -o /dev/null | FileCheck %s
// CHECK: "name":"generic","units":[1,2]
// CHECK-SAME: {"object":1,"write":false,"shares":false,"early":false,"columns":{{\[\[}}0,64]]}
// CHECK-SAME: {"object":2,"write":true,"shares":false,"early":false,"columns":{{\[\[}}8,16]]}
#s = #mk_task.segment<base = 0, limit = 16, outer = 2, stride = 8, half = 4, partner = 4>
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 1, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(2048) : tensor<?x16xf32>
    mk_task.kind @k class(columns) domain(tokens) units(2) segments [#s] {
    ^bb0(%x: tensor<?x64xf32>):
      %y = mk.generic %x sizes [16] maps [affine_map<(d0) -> (d0 * 4)>] : (tensor<?x64xf32>) -> tensor<?x16xf32> {
      ^bb0(%a: f32):
        mk.yield %a : f32
      }
      mk.yield %y : tensor<?x16xf32>
    }
    mk_task.family @generic kind(@k) [@x] -> [@y]
    mk_task.task @generic units(1, 2) worker(0) wait [] previous [] signal []
  }
}
