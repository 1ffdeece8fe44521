// RUN: mk-opt %s --mk-build-kernel --canonicalize --cse | FileCheck %s

// Tests the consumers' half of the kernel: one thread polls for a task's waits, all go on behind the barrier, the body of the
// kind (none for an instruction that only waits), one signal behind the next barrier; then the end of the step, and only
// then the flag that says whether there is another. The loader's group of warps gives the consumers registers.

module attributes {mk.target = #mk.target<kind = "gpu", features = "sm_90a", workers = 2, lanes = 2, bandwidth = 3150, shared = 65536, in_flight = 32768>, mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 4, max_length = 64, page = 16, split = 32>} {
  func.func private @first(!mk_cta.context, !mk_cta.instruction, index, index, index, index, index, i32, i32, i32) -> (i32, i32, i32)
  mk_task.program @step {
    mk_task.kind @first class(columns) domain(tokens) units(1) {
    ^bb0(%x: tensor<?x32xf32>):
      %y = mk.silu %x : (tensor<?x32xf32>) -> tensor<?x32xf32>
      mk.yield %y : tensor<?x32xf32>
    }
    mk_task.table counts [0, 0] kinds [@first] families [] events [] words dense<-1> : tensor<2x1x32xi32>
  }
}
// CHECK-NOT: mk_task
// CHECK: func.func @mk_main(%[[C:.*]]: !mk_cta.context) attributes {mk.kernel = 384 : i32}
// CHECK: %[[BLOCK:.*]] = nvvm.read.ptx.sreg.ctaid.x
// CHECK-NEXT: %[[WORKER:.*]] = arith.index_cast %[[BLOCK]]
// CHECK: scf.if
// CHECK: mk_cta.ring_init %{{.*}}, %{{.*}} {consumers = 8 : i64} : memref<3xi64, 3>, memref<3xi64, 3>
// CHECK: nvvm.barrier0
// CHECK: nvvm.setmaxregister increase 224
// CHECK: %[[STEP:.*]] = mk_cta.step %[[C]]
// CHECK: mk_cta.instruction %[[C]], %[[WORKER]], %{{.*}}
// CHECK: %[[LAG:.*]] = mk_cta.field %{{.*}}, "wait_lag"[0]
// CHECK-COUNT-3: mk_cta.poll %[[C]], %[[WORKER]],
// CHECK: nvvm.barrier
// CHECK: scf.index_switch
// CHECK: case 0
// CHECK-NEXT: func.call @first(
// CHECK: default {
// CHECK: nvvm.barrier
// CHECK: mk_cta.arrive %[[C]], %{{.*}}
// CHECK: mk_cta.poll %[[C]], %[[WORKER]], %{{.*}}, %c-1, %{{.*}}
// CHECK: nvvm.barrier
// CHECK: memref.load
// CHECK: nvvm.setmaxregister decrease 56
