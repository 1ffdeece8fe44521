// RUN: not mk-opt %s --mk-lower-gpu-kinds 2>&1 | FileCheck %s

// Tests that mixtures of experts are refused with the place in the model, and before anything else is.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
mk_task.program @step {
  mk_task.weight @g [@g] layout(fragments) offset(0) : tensor<64xf32>
  mk_task.buffer @x domain(tokens) offset(0) : tensor<?x64xf32>
  mk_task.buffer @n domain(tokens) offset(2048) : tensor<?x64xf32>
  mk_task.buffer @l domain(tokens) offset(4096) : tensor<?x8xf32>
  mk_task.buffer @r domain(tokens) offset(4608) : tensor<?x8xf32>
  mk_task.kind @rms_norm class(columns) domain(tokens) units(16) segments [#mk_task.segment<base = 0, limit = 64, outer = 16, stride = 4, half = 2, partner = 2>] {
  ^bb0(%x: tensor<?x64xf32>, %g: tensor<64xf32>):
    %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    mk.yield %n : tensor<?x64xf32>
  }
  mk_task.kind @route class(serial) domain(tokens) units(1) {
  ^bb0(%l: tensor<?x8xf32>):
    // CHECK-NOT: mk.rms_norm
    // CHECK: 'mk.topk_route' op has no code for a gpu: compile mixtures of experts for a cpu (at layers.0.mlp.experts)
    %r = mk.topk_route %l {chosen = 2 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32> loc("layers.0.mlp.experts")
    mk.yield %r : tensor<?x8xf32>
  }
  mk_task.family @norm kind(@rms_norm) [@x, @g] -> [@n]
  mk_task.family @a kind(@route) [@l] -> [@r]
}
}
