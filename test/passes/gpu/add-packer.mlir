// RUN: mk-opt %s --mk-add-packer | FileCheck %s

// Tests that a module gets the two kernels that bring weights, whatever is in it: a thread takes 16 bytes of one row of one
// tile, rounds float32 and float16 to bfloat16, and leaves rows that the map says are not of this matrix.

// CHECK: func.func @mine
func.func @mine() {
  return
}
// CHECK: func.func private @thread() -> (i64, i64)
// CHECK: func.func @mk_pack({{.*}}) attributes {mk.kernel = 256 : i32}
// CHECK: %[[LEAVE:.*]] = arith.constant -2 : i32
// CHECK: call @thread()
// CHECK: scf.for
// CHECK: %[[WANTED:.*]] = arith.cmpi ne, %{{.*}}, %[[LEAVE]]
// CHECK: scf.if %[[WANTED]]
// CHECK-NOT: llvm.store
// CHECK: scf.for
// CHECK: arith.truncf %{{.*}} : vector<2xf32> to vector<2xbf16>
// CHECK: arith.extf %{{.*}} : vector<2xf16> to vector<2xf32>
// CHECK: llvm.store %{{.*}} : i32, !llvm.ptr<1>
// CHECK: func.func @mk_random({{.*}}) attributes {mk.kernel = 256 : i32}
// CHECK-NOT: llvm.load
// CHECK: return
