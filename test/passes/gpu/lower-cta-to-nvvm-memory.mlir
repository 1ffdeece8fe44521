// RUN: mk-opt %s --mk-lower-cta-to-nvvm --canonicalize --cse | FileCheck %s

// Tests that words of the context are parameters of the kernel, an instruction one word in each lane of a warp, which a
// shuffle brings to all of them, and views descriptors of the global or the shared space.

// CHECK: llvm.mlir.global external @mk_shared() {addr_space = 3 : i32, alignment = 1024 : i64} : !llvm.array<0 x i8>
// CHECK: func.func @mk_main(%[[C:.*]]: !llvm.ptr {llvm.align = 8 : i64, llvm.byval = !llvm.array<{{[0-9]+}} x i64>}
func.func @mk_main(%context: !mk_cta.context, %worker: index, %n: index) -> (index, index, index) {
  // pool_pages is word 11 of 8 bytes.
  // CHECK: %[[PAGES:.*]] = llvm.getelementptr %[[C]][88]
  // CHECK: llvm.load %[[PAGES]] invariant
  %0 = mk_cta.context_word %context, "pool_pages"
  // CHECK: %[[T:.*]] = nvvm.read.ptx.sreg.tid.x
  // CHECK: %[[WORD:.*]] = llvm.load %{{.*}} invariant {alignment = 4 : i64} : !llvm.ptr<1> -> i32
  %i = mk_cta.instruction %context, %worker, %n
  // operand [2] is word 18.
  // CHECK: nvvm.shfl.sync idx %{{.*}}, %[[WORD]], %c18_i32, %c31_i32
  %1 = mk_cta.field %i, "operand" [2]
  // Written by every step, so not invariant.
  // CHECK: llvm.load %{{[0-9]+}} : !llvm.ptr<1> -> i64
  %2 = mk_cta.step %context
  // CHECK: builtin.unrealized_conversion_cast %{{.*}} to memref<?x4xf32, strided<[8, 1]>, 1>
  %v = mk_cta.view %context, "activations", %n : memref<?x4xf32, strided<[8, 1]>, 1>
  // CHECK: llvm.getelementptr %{{.*}}[1024] : (!llvm.ptr<3>)
  // CHECK: builtin.unrealized_conversion_cast %{{.*}} to memref<2x8xf32, 3>
  %s = mk_cta.shared 1024 : memref<2x8xf32, 3>
  %a = memref.load %v[%n, %n] : memref<?x4xf32, strided<[8, 1]>, 1>
  memref.store %a, %s[%n, %n] : memref<2x8xf32, 3>
  return %0, %1, %2 : index, index, index
}
// Only the kernel's context is a parameter: what it calls has the address.
// CHECK: func.func private @body(%{{.*}}: !llvm.ptr) attributes {llvm.linkage = #llvm.linkage<internal>, passthrough = ["alwaysinline"]}
func.func private @body(%context: !mk_cta.context) {
  return
}
