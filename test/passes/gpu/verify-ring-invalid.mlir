// RUN: mk-opt %s --split-input-file --verify-diagnostics --mk-verify-ring

// Tests that a kernel is refused in which how often a slot is used depends on data, and one whose loader does what consumers do.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 1, lanes = 2, bandwidth = 3150, shared = 36864, in_flight = 32768>, mk.options = #mk.options<max_tokens = 2, max_rows = 2, max_sequences = 1, max_length = 64, page = 16, split = 32>} {
  func.func @mk_main(%data: memref<1xindex>, %empty: memref<2xi64, 3>) {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %count = memref.load %data[%c0] : memref<1xindex>
    // expected-error @+1 {{'scf.for' op repeats uses of the ring by what is not a number}}
    scf.for %k = %c0 to %count step %c1 {
      mk_cta.ring_release %empty[%c0] : memref<2xi64, 3>
    }
    return
  }
  mk_task.program @step {
    mk_task.table counts [0] kinds [] families [] events [] words dense<-1> : tensor<1x1x32xi32>
  }
}

// -----

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 1, lanes = 2, bandwidth = 3150, shared = 36864, in_flight = 32768>, mk.options = #mk.options<max_tokens = 2, max_rows = 2, max_sequences = 1, max_length = 64, page = 16, split = 32>} {
  func.func @mk_main(%context: !mk_cta.context, %full: memref<2xi64, 3>, %over: memref<1xi32, 3>) {
    %c0 = arith.constant 0 : index
    %phase = arith.constant 0 : i32
    // expected-error @+1 {{'mk_cta.ring_await' op is use 0 of the ring, in steps of 1 tokens and 1 rows: expected a wait for slot and phase (0, 1), found (0, 0)}}
    %came = mk_cta.ring_await full %full[%c0], %phase in %context, %c0, %c0, %over : memref<2xi64, 3>, memref<1xi32, 3>
    return
  }
  mk_task.program @step {
    mk_task.table counts [0] kinds [] families [] events [] words dense<-1> : tensor<1x1x32xi32>
  }
}
