// RUN: mk-opt %s --mk-lower-cta-to-llvm --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,WITH
// RUN: sed s/,avx512bf16// %s | mk-opt --mk-lower-cta-to-llvm --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,WITHOUT

// Tests that a dot of bfloat16 is one instruction where the target has it, elsewhere two fused multiply-adds on the low and
// high halves of the words; one of float32 is a multiply-add everywhere.
module attributes {mk.target = #mk.target<kind = "cpu", features = "avx512f,avx512bf16", workers = 2, lanes = 16, bandwidth = 30>} {
// CHECK-LABEL: func.func @bfloat16
// CHECK-SAME: %[[A:.*]]: vector<16xf32>, %[[W:.*]]: vector<32xbf16>
// WITH: llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"(%[[A]], %[[W]], %{{.*}})
// WITH-NOT: math.fma
// WITHOUT-NOT: llvm.call_intrinsic
// WITHOUT: %[[BITS:.*]] = vector.bitcast %[[W]] : vector<32xbf16> to vector<16xi32>
// WITHOUT: %[[LOW:.*]] = arith.shli %[[BITS]], %
// WITHOUT: %[[FIRST:.*]] = arith.bitcast %[[LOW]] : vector<16xi32> to vector<16xf32>
// WITHOUT: %[[SUM:.*]] = math.fma %[[FIRST]], %{{.*}}, %[[A]]
// WITHOUT: %[[HIGH:.*]] = arith.andi %[[BITS]], %
// WITHOUT: %[[SECOND:.*]] = arith.bitcast %[[HIGH]]
// WITHOUT: math.fma %[[SECOND]], %{{.*}}, %[[SUM]]
func.func @bfloat16(%acc: vector<16xf32>, %w: vector<32xbf16>, %x: vector<2xbf16>) -> vector<16xf32> {
  %0 = mk_cta.dot %acc, %w, %x : vector<16xf32>, vector<32xbf16>, vector<2xbf16>
  return %0 : vector<16xf32>
}

// CHECK-LABEL: func.func @float32
// CHECK-SAME: %[[A:.*]]: vector<16xf32>, %[[W:.*]]: vector<16xf32>
// CHECK: math.fma %[[W]], %{{.*}}, %[[A]] : vector<16xf32>
func.func @float32(%acc: vector<16xf32>, %w: vector<16xf32>, %x: vector<1xf32>) -> vector<16xf32> {
  %0 = mk_cta.dot %acc, %w, %x : vector<16xf32>, vector<16xf32>, vector<1xf32>
  return %0 : vector<16xf32>
}
}
