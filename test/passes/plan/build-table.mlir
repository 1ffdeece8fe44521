// RUN: mk-opt %s --mk-build-table --mk-print-listing --mlir-print-elementsattrs-with-hex-if-larger=-1 -o %t | FileCheck %s --check-prefix=LIST
// RUN: FileCheck %s <%t

// Tests that the words of an instruction are those of Abi.def, that a fourth wait takes an instruction of its own (kind
// -2) and a third does not, and that each worker's list ends with kind -1.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 16, bandwidth = 30>,
    mk.options = #mk.options<max_tokens = 16, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  mk_task.program @step {
    mk_task.weight @w [@w] layout(tiles) : tensor<64x64xf32>
    mk_task.weight @gain [@gain] layout(rows) offset(128) : tensor<64xf32>
    mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
    mk_task.buffer @y domain(tokens) offset(4096) : tensor<?x64xf32>
    mk_task.kind @linear class(tiles) domain(tokens) units(2)
      segments [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>] {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %g: tensor<64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> prologue {
      ^bb0(%row: tensor<?x64xf32>):
        %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
        mk.yield %n : tensor<?x64xf32>
      }
      mk.yield %y : tensor<?x64xf32>
    }
    mk_task.family @a kind(@linear) [@x, @w, @gain] -> [@y]
    mk_task.event @e arrivals(5)
    mk_task.event @f arrivals(6)
    mk_task.event @g arrivals(7)
    mk_task.task @a units(0, 1) worker(0) wait [@e, @f, @g] previous [@f] signal [@e] stream(9)
    mk_task.task @a units(1, 2) worker(1) wait [@g] previous [@e, @f] signal [] stream(128)
  }
}
// LIST: worker 0: 2 instructions
// LIST-NEXT: 0 (waits for a) wait e x 5, f x 6, g x 7
// LIST-NEXT: 1 linear a units [0, 1) stream 9 wait f x 6 of the step before signal e
// LIST-NEXT: worker 1: 1 instruction
// LIST-NEXT: 0 linear a units [1, 2) stream 128 wait g x 7, e x 5 of the step before, f x 6 of the step before

// The first worker: kind, family, units, 3 waits, their events, arrivals and lags, signal, stream, operands.
// CHECK: mk_task.table counts [2, 1] kinds [@linear] families [@a] events [@e, @f, @g] words
// CHECK-SAME: {{\[\[\[}}-2, 0, 0, 0, 3, 0, 1, 2, 5, 6, 7, 0, 0, 0, -1, 0, 0,
// CHECK-SAME: [0, 0, 0, 1, 1, 1, 0, 0, 6, 0, 0, 1, 0, 0, 0, 9, 0, 0, 2, 64, 0,
// CHECK-SAME: [-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0,
// CHECK-SAME: {{\[\[}}0, 0, 1, 2, 3, 2, 0, 1, 7, 5, 6, 0, 1, 1, -1, 128, 0, 0, 2, 64, 0,
// CHECK-SAME: [-1, 0,
// CHECK-SAME: : tensor<2x3x32xi32>
