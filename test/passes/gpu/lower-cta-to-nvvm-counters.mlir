// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests the accesses that order memory between CTAs: arrivals add with release, one thread's poll loads with acquire, at the
// scope of the device, both relaxed for a hint; the host's count is stored with release at that of the system.

// CHECK-LABEL: func.func @counters
func.func @counters(%context: !mk_cta.context, %event: index, %worker: index, %n: index, %target: index,
                    %mail: memref<1xi64, 1>, %count: i64, %hint: i1) -> i1 {
  // CHECK: %[[BYTES:.*]] = arith.muli %{{.*}}, %c64
  // CHECK: llvm.inline_asm {{.*}}"{{.*}}@hint red.relaxed.gpu.global.add.u64 [$0], 1; @!hint red.release.gpu.global.add.u64 [$0], 1; }", "l,r,~{memory}"
  mk_cta.arrive %context, %event, %hint
  // CHECK: %[[STEP:.*]] = llvm.load
  // CHECK: "red.release.gpu.global.add.u64 [$0], 1;", "l,~{memory}" %[[STEP]]
  mk_cta.publish_step %context
  // CHECK: "st.release.sys.global.u64 [$0], $1;"
  mk_cta.post %mail[%n], %count : memref<1xi64, 1>
  // The counter of event -1 is that of the steps.
  // CHECK: %[[OFSTEPS:.*]] = arith.cmpi slt, %{{.*}}, %c0
  // CHECK: %[[ADDRESS:.*]] = arith.select %[[OFSTEPS]], %{{.*}}, %{{.*}} : i64
  // CHECK: "{{.*}}@hint ld.relaxed.gpu.global.u64 $0, [$1]; @!hint ld.acquire.gpu.global.u64 $0, [$1];{{.*}}", "=&l,l,l,r,~{memory}" %[[ADDRESS]]
  // CHECK: scf.while
  // CHECK: "mov.u64 $0, %globaltimer;"
  // An overdue wait leaves a line for the host, and no trap.
  // CHECK: scf.if
  // CHECK: "{{.*}}st.release.sys.global.u64 [$0], 1;"
  // CHECK-NOT: {{trap|asm}}
  %arrived = mk_cta.poll %context, %worker, %n, %event, %target, %hint
  return %arrived : i1
}
