// RUN: mk-opt %s --split-input-file --verify-diagnostics --mk-build-table --mk-print-listing -o /dev/null | FileCheck %s

// Tests that places in the streams of a GPU count in units of 512 bytes, so 150 GB of weights fit an instruction, where on a
// CPU units are of 64 bytes; and that what lies behind 2^31 units is refused, with its place.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 1, lanes = 2, bandwidth = 3150, shared = 232448, in_flight = 32768>} {
  mk_task.program @step {
    mk_task.weight @w [@w] layout(tiles) : tensor<4x64xbf16>
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x4xf32>
    mk_task.kind @linear class(tiles) domain(tokens) units(1) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<4x64xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<4x64xbf16>) -> tensor<?x4xf32>
      mk.yield %y : tensor<?x4xf32>
    }
    mk_task.family @a kind(@linear) [@x, @w] -> [@y]
    // CHECK: linear a units [0, 1) stream 292968750
    mk_task.task @a units(0, 1) worker(0) wait [] previous [] signal [] stream(2343750000)
  }
}

// -----

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 1, lanes = 2, bandwidth = 3150, shared = 232448, in_flight = 32768>} {
  mk_task.program @step {
    mk_task.weight @w [@w] layout(tiles) : tensor<4x64xbf16>
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x4xf32>
    mk_task.kind @linear class(tiles) domain(tokens) units(1) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<4x64xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<4x64xbf16>) -> tensor<?x4xf32>
      mk.yield %y : tensor<?x4xf32>
    }
    mk_task.family @a kind(@linear) [@x, @w] -> [@y]
    // expected-error @+1 {{of @a expected a stream offset below 2^31 units of 512 bytes, found 2147483648}}
    mk_task.task @a units(0, 1) worker(0) wait [] previous [] signal [] stream(17179869184)
  }
}
