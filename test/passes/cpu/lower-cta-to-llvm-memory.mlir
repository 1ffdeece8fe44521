// RUN: mk-opt %s --mk-lower-cta-to-llvm --canonicalize --cse | FileCheck %s

// Tests that contexts and instructions are pointers read by the words of Abi.def, without any order.
module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 4, bandwidth = 30>} {
// CHECK-LABEL: func.func @memory
// CHECK-SAME: %[[C:.*]]: !llvm.ptr, %[[I:.*]]: !llvm.ptr
// CHECK-NOT: atomic
// pool_pages is word 11 of 8 bytes.
// CHECK: %[[PAGES:.*]] = llvm.getelementptr %[[C]][88]
// CHECK: llvm.load %[[PAGES]] : !llvm.ptr -> i64
// operand [2] is word 18 of 4 bytes, with a sign.
// CHECK: %[[OPERAND:.*]] = llvm.getelementptr %[[I]][72]
// CHECK: %[[WORD:.*]] = llvm.load %[[OPERAND]] : !llvm.ptr -> i32
// CHECK: arith.index_cast %[[WORD]] : i32 to index
// activations is word 5, and a view a descriptor of 4 columns, 8 elements apart.
// CHECK: %[[ARENA:.*]] = llvm.getelementptr %[[C]][40]
// CHECK: llvm.load %[[ARENA]] : !llvm.ptr -> !llvm.ptr
// CHECK: builtin.unrealized_conversion_cast %{{.*}} to memref<?x4xf32, strided<[8, 1]>>
func.func @memory(%context: !mk_cta.context, %instruction: !mk_cta.instruction, %n: index) -> (index, index, memref<?x4xf32, strided<[8, 1]>>) {
  %0 = mk_cta.context_word %context, "pool_pages"
  %1 = mk_cta.field %instruction, "operand" [2]
  %2 = mk_cta.view %context, "activations", %n : memref<?x4xf32, strided<[8, 1]>>
  return %0, %1, %2 : index, index, memref<?x4xf32, strided<[8, 1]>>
}
}
