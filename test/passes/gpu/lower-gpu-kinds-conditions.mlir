// RUN: sed 's/FLAGGED/flagged/' %s | mk-opt --mk-lower-gpu-kinds --canonicalize --cse | FileCheck %s
// RUN: sed 's/FLAGGED//' %s | not mk-opt --mk-lower-gpu-kinds 2>&1 | FileCheck %s --check-prefix=PLAIN

// Tests what is left of a task that is passed over: it takes back the words of its units in the other copy, as its body does
// first, and reads and writes nothing else. A kind whose families have no conditions, or whose results are not flagged, has
// no such function. A predicate whose word does not say that it is there is refused.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @p FLAGGED domain(tokens) offset(4096) : tensor<?x1xf32>
  mk_task.buffer @y flagged domain(tokens) offset(8192) : tensor<?x64xf32>
  mk_task.buffer @z domain(tokens) offset(16384) : tensor<?x64xf32>
  mk_task.kind @relu class(columns) domain(tokens) units(16) segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
  ^bb0(%a: tensor<?x64xf32>):
    %b = mk.relu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %b : tensor<?x64xf32>
  }
  mk_task.kind @silu class(columns) domain(tokens) units(16) segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
  ^bb0(%a: tensor<?x64xf32>):
    %b = mk.silu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %b : tensor<?x64xf32>
  }
  mk_task.family @sometimes kind(@relu) [@x] -> [@y] if [#mk_task.condition<buffer = @p, taken = true>]
  mk_task.family @plain kind(@silu) [@x] -> [@z] if [#mk_task.condition<buffer = @p, taken = true>]
}
}
// CHECK-LABEL: func.func private @relu(
// CHECK: mk_cta.clear_flagged
// CHECK: memref.load
// CHECK: mk_cta.store_flagged
// CHECK-LABEL: func.func private @relu.passed(
// CHECK: mk_cta.clear_flagged
// CHECK-NOT: {{load_flagged|store_flagged|look_again}}
// CHECK: return{{$}}
// CHECK-LABEL: func.func private @silu(
// CHECK-NOT: silu.passed
// PLAIN: "sometimes" has a condition on @p, which does not say itself that it is there: expected a flagged buffer
