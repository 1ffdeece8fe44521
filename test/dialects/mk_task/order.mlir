// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// Tests that a buffer's order and the layout of a vector print as they are parsed, the natural order as nothing, and that
// only tiles have what belongs to tiles.

mk_task.program @step {
  // CHECK: mk_task.buffer @a domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @a domain(tokens) order(natural) : tensor<?x64xf32>
  // CHECK: mk_task.buffer @b domain(tokens) order(fragments) offset(64) : tensor<?x64xbf16>
  mk_task.buffer @b domain(tokens) order(fragments) offset(64) : tensor<?x64xbf16>
  // CHECK: mk_task.buffer @c domain(tokens) order(ranges) : tensor<?x136xf32>
  mk_task.buffer @c domain(tokens) order(ranges) : tensor<?x136xf32>
  // CHECK: mk_task.weight @gain [@gain] layout(fragments) offset(0) : tensor<64xf32>
  mk_task.weight @gain [@gain] layout(fragments) offset(0) : tensor<64xf32>
}

// -----
mk_task.program @step {
  // expected-error@+1 {{expected string or keyword containing one of the following enum values for attribute 'order' [natural, fragments, ranges]}}
  mk_task.buffer @a domain(tokens) order(tiles) : tensor<?x64xf32>
}

// -----
mk_task.program @step {
  // expected-error@+1 {{only layout(tiles) has `gathered`, `segments` and `tile_offsets`}}
  mk_task.weight @gain [@gain] layout(fragments) gathered offset(0) : tensor<64x64xf32>
}
