// RUN: not mk-opt %s --mk-lower-gpu-kinds 2>&1 | FileCheck %s

// Tests that a generated task is refused with the place in the model.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @y domain(tokens) offset(2048) : tensor<?x64xf32>
  mk_task.kind @generic class(columns) domain(tokens) units(16) segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>):
    // CHECK: 'mk.generic' op has no code for a gpu: compile it for a cpu (at layers.0.mlp)
    %y = mk.generic %x sizes [64] maps [affine_map<(d0) -> (d0)>] : (tensor<?x64xf32>) -> tensor<?x64xf32> {
    ^bb0(%a: f32):
      mk.yield %a : f32
    } loc("layers.0.mlp")
    mk.yield %y : tensor<?x64xf32>
  }
  mk_task.family @f kind(@generic) [@x] -> [@y]
}
}
