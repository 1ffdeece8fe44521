// RUN: mk-opt %s --mk-assign-workers --split-input-file | FileCheck %s

// Tests that on a GPU no worker has two more units of a family than another, whatever it had before: of 7 small units each
// worker gets at least 3, although the first one has read a large unit less.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) : tensor<?x4096xf32>
    mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @z domain(tokens) : tensor<?x28xf32>
    mk_task.weight @w [@w] layout(tiles) : tensor<12x4096xbf16>
    mk_task.weight @v [@v] layout(tiles) : tensor<28x64xbf16>
    mk_task.kind @long class(tiles) domain(tokens) units(3) {
    ^bb0(%x: tensor<?x4096xf32>, %w: tensor<12x4096xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x4096xf32>, tensor<12x4096xbf16>) -> tensor<?x12xf32>
      mk.yield %y : tensor<?x12xf32>
    }
    mk_task.kind @short class(tiles) domain(tokens) units(7) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<28x64xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<28x64xbf16>) -> tensor<?x28xf32>
      mk.yield %y : tensor<?x28xf32>
    }
    mk_task.buffer @u domain(tokens) : tensor<?x12xf32>
    mk_task.family @a kind(@long) [@x, @w] -> [@u]
    mk_task.family @b kind(@short) [@y, @v] -> [@z]
    // CHECK: mk_task.task @a units(0, 2) worker(0)
    // CHECK-NEXT: mk_task.task @a units(2, 3) worker(1)
    // CHECK-NEXT: mk_task.task @b units(0, 3) worker(0)
    // CHECK-NEXT: mk_task.task @b units(3, 7) worker(1)
  }
}

// -----

// Tests that heads are spread even where there are more workers, over the last shares of attention, and that a few
// columns are not.
module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 4, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    mk_task.buffer @x domain(tokens) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
    mk_task.weight @g [@g] layout(rows) : tensor<32xf32>
    mk_task.kind @norm class(columns) domain(tokens) units(2)
        segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16, whole = true>] {
    ^bb0(%x: tensor<?x64xf32>, %g: tensor<32xf32>):
      %y = mk.head_norm %x, %g {head_dim = 32 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<32xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
    mk_task.buffer @u domain(tokens) : tensor<?x8xf32>
    mk_task.kind @silu class(columns) domain(tokens) units(2)
        segments [#mk_task.segment<base = 0, limit = 8, outer = 2, stride = 4, half = 2, partner = 2>] {
    ^bb0(%x: tensor<?x8xf32>):
      %y = mk.silu %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
      mk.yield %y : tensor<?x8xf32>
    }
    mk_task.buffer @z domain(tokens) : tensor<?x8xf32>
    mk_task.family @n kind(@norm) [@x, @g] -> [@y]
    mk_task.family @s kind(@silu) [@u] -> [@z]
    // CHECK: mk_task.task @n units(0, 1) worker(2)
    // CHECK-NEXT: mk_task.task @n units(1, 2) worker(3)
    // CHECK-NEXT: mk_task.task @s units(0, 2) worker(0)
  }
}
