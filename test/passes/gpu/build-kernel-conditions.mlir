// RUN: mk-opt %s --mk-build-kernel --canonicalize --cse | FileCheck %s

// Tests an instruction under conditions. The consumers ask for the predicates, then wait as ever and for the loader to have
// asked, if the kind has something in the ring, and call what a passed task leaves if a condition does not hold. The
// loader asks when the step has begun, longer than the consumers would, tells so, and brings tiles if they hold.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @linear(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  func.func private @linear.passed(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32)
  mk_task.program @step {
    mk_task.weight @w [@w] layout(tiles) : tensor<32x64xbf16>
    mk_task.buffer @p flagged domain(tokens) offset(0) : tensor<?x1xf32>
    mk_task.buffer @x flagged domain(tokens) order(fragments) offset(2048) : tensor<?x64xbf16>
    mk_task.buffer @y flagged domain(tokens) offset(4096) : tensor<?x32xf32>
    mk_task.kind @linear class(tiles) domain(tokens) units(8) {
    ^bb0(%x: tensor<?x64xbf16>, %w: tensor<32x64xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x64xbf16>, tensor<32x64xbf16>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    mk_task.family @a kind(@linear) [@x, @w] -> [@y] if [#mk_task.condition<buffer = @p, taken = true>]
    mk_task.table counts [0, 0] kinds [@linear] families [@a] events [] words dense<-1> : tensor<2x1x32xi32>
  }
}
// CHECK: nvvm.setmaxregister increase
// CHECK: scf.if
// CHECK: mk_cta.field %{{.*}}, "operand"[14]
// CHECK: mk_cta.await_predicate {{.*}}, %{{.*}} : memref<1xi32, 3>
// CHECK: nvvm.barrier
// CHECK: mk_cta.poll
// CHECK: mk_cta.await_told passed
// CHECK: func.call @linear(
// CHECK: else
// CHECK: func.call @linear.passed(
// CHECK: mk_cta.arrive
// CHECK: nvvm.setmaxregister decrease
// CHECK: mk_cta.await_told begun
// CHECK: mk_cta.await_predicate {{.*}} patient
// CHECK: mk_cta.tell
// CHECK: scf.if
// CHECK: mk_cta.ring_fill
