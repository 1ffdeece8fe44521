// RUN: mk-opt %s --mk-lower-gpu-kinds --verify-diagnostics

// Tests that work which only some steps do is refused, since the loader would bring its weights in every step.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @p domain(tokens) offset(4096) : tensor<?x1xf32>
  mk_task.kind @relu class(columns) domain(tokens) units(16) segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
  ^bb0(%a: tensor<?x64xf32>):
    %b = mk.relu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
    mk.yield %b : tensor<?x64xf32>
  }
  // expected-error@+1 {{"sometimes" runs or not by data, which has no code for a gpu: compile torch.cond for a cpu}}
  mk_task.family @sometimes kind(@relu) [@x] -> [@x] if [#mk_task.condition<buffer = @p, taken = true>]
}
}
