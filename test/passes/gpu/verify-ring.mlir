// RUN: mk-opt %s --mk-verify-ring | FileCheck %s

// Tests that a ring of two slots is proved whose loader fills three slots, one after the other, with what the consumers take
// them for, and that nothing is left of what was only for the proof.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 1, lanes = 2, bandwidth = 3150, shared = 36864, in_flight = 32768>, mk.options = #mk.options<max_tokens = 2, max_rows = 2, max_sequences = 1, max_length = 64, page = 16, split = 32>} {
  // CHECK: func.func @mk_main
  // CHECK-NOT: {{ring_holds|mk_task}}
  func.func @mk_main(%context: !mk_cta.context, %full: memref<2xi64, 3>, %empty: memref<2xi64, 3>, %over: memref<1xi32, 3>, %ring: memref<2x4096xi32, 3>) {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %border = arith.constant 256 : index
    %bytes = arith.constant 512 : i32
    %flip = arith.constant 1 : i32
    %thread = mk_cta.thread
    %consumes = arith.cmpi slt, %thread, %border : index
    scf.for %k = %c0 to %c3 step %c1 {
      %slot = arith.remui %k, %c2 : index
      %turn = arith.divui %k, %c2 : index
      %parity = arith.index_cast %turn : index to i32
      mk_cta.ring_holds %k
      scf.if %consumes {
        %came = mk_cta.ring_await full %full[%slot], %parity in %context, %c0, %c0, %over : memref<2xi64, 3>, memref<1xi32, 3>
        mk_cta.ring_release %empty[%slot] : memref<2xi64, 3>
      } else {
        %other = arith.xori %parity, %flip : i32
        %free = mk_cta.ring_await empty %empty[%slot], %other in %context, %c0, %c0, %over : memref<2xi64, 3>, memref<1xi32, 3>
        mk_cta.ring_fill %ring[%slot], %full, %context, "stream", %k, %bytes : memref<2x4096xi32, 3>, memref<2xi64, 3>
      }
    }
    return
  }
  mk_task.program @step {
    mk_task.table counts [0] kinds [] families [] events [] words dense<-1> : tensor<1x1x32xi32>
  }
}
