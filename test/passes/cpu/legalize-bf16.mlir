// RUN: mk-opt %s -mk-legalize-bf16 | FileCheck %s

// Tests that a store of bfloat16 becomes one of integers.
// CHECK-LABEL: llvm.func @store
// CHECK-SAME: %[[X:.*]]: vector<8xbf16>, %[[P:.*]]: !llvm.ptr, %[[M:.*]]: vector<8xi1>
llvm.func @store(%x: vector<8xbf16>, %p: !llvm.ptr, %m: vector<8xi1>) {
  // CHECK: %[[I:.*]] = llvm.bitcast %[[X]] : vector<8xbf16> to vector<8xi16>
  // CHECK: llvm.store %[[I]], %[[P]] : vector<8xi16>, !llvm.ptr
  llvm.store %x, %p : vector<8xbf16>, !llvm.ptr
  // CHECK: llvm.intr.masked.store %{{.*}}, %[[P]], %[[M]] {{.*}} : vector<8xi16>, vector<8xi1> into !llvm.ptr
  llvm.intr.masked.store %x, %p, %m {alignment = 2 : i32} : vector<8xbf16>, vector<8xi1> into !llvm.ptr
  llvm.return
}

// Tests that a load becomes one of integers, read as bfloat16 by whoever used it.
// CHECK-LABEL: llvm.func @load
llvm.func @load(%p: !llvm.ptr) -> bf16 {
  // CHECK: %[[I:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i16
  // CHECK: %[[X:.*]] = llvm.bitcast %[[I]] : i16 to bf16
  // CHECK: llvm.return %[[X]]
  %0 = llvm.load %p : !llvm.ptr -> bf16
  llvm.return %0 : bf16
}

// Tests that other types are left alone.
// CHECK-LABEL: llvm.func @float32
llvm.func @float32(%p: !llvm.ptr) -> f32 {
  // CHECK-NOT: bitcast
  // CHECK: llvm.load %{{.*}} : !llvm.ptr -> f32
  %0 = llvm.load %p : !llvm.ptr -> f32
  llvm.return %0 : f32
}
