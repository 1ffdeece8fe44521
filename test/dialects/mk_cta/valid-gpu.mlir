// RUN: mk-opt %s | mk-opt | FileCheck %s

// Tests that every op of a GPU prints as it is parsed.

// CHECK-LABEL: func.func @ring
func.func @ring(%context: !mk_cta.context, %slot: index, %parity: i32, %bytes: i32, %offset: index) {
  // CHECK: %[[FULL:.*]] = mk_cta.shared 0 : memref<4xi64, 3>
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  // CHECK: %[[EMPTY:.*]] = mk_cta.shared 32 : memref<4xi64, 3>
  %empty = mk_cta.shared 32 : memref<4xi64, 3>
  %quit = mk_cta.shared 64 : memref<1xi32, 3>
  %ring = mk_cta.shared 128 : memref<4x4096xi32, 3>
  // CHECK: mk_cta.ring_init %[[FULL]], %[[EMPTY]] {consumers = 8 : i64} : memref<4xi64, 3>, memref<4xi64, 3>
  mk_cta.ring_init %full, %empty {consumers = 8 : i64} : memref<4xi64, 3>, memref<4xi64, 3>
  // CHECK: mk_cta.ring_await %[[EMPTY]][%[[S:.*]]], %[[P:.*]] quit %[[Q:.*]] : memref<4xi64, 3>, memref<1xi32, 3>
  %free = mk_cta.ring_await %empty[%slot], %parity quit %quit : memref<4xi64, 3>, memref<1xi32, 3>
  // CHECK: mk_cta.ring_fill %{{.*}}[%[[S]]], %[[FULL]], %{{.*}}, "stream", %{{.*}}, %{{.*}} : memref<4x4096xi32, 3>, memref<4xi64, 3>
  mk_cta.ring_fill %ring[%slot], %full, %context, "stream", %offset, %bytes : memref<4x4096xi32, 3>, memref<4xi64, 3>
  // CHECK: mk_cta.ring_await %[[FULL]][%[[S]]], %[[P]] : memref<4xi64, 3>{{$}}
  %landed = mk_cta.ring_await %full[%slot], %parity : memref<4xi64, 3>
  // CHECK: mk_cta.fragment %{{.*}}[%[[S]]], %[[S]] : memref<4x4096xi32, 3> -> vector<4xi32>
  %words = mk_cta.fragment %ring[%slot], %slot : memref<4x4096xi32, 3> -> vector<4xi32>
  // CHECK: mk_cta.ring_release %[[EMPTY]][%[[S]]] : memref<4xi64, 3>
  mk_cta.ring_release %empty[%slot] : memref<4xi64, 3>
  return
}

// CHECK-LABEL: func.func @others
func.func @others(%context: !mk_cta.context, %n: index, %a: vector<4xi32>, %b: vector<2xi32>, %acc: vector<4xf32>) {
  // CHECK: mk_cta.poll %[[C:.*]], %[[N:.*]], %[[N]], %[[N]], %[[N]]
  %arrived = mk_cta.poll %context, %n, %n, %n, %n
  // CHECK: mk_cta.stamp %[[C]], %[[N]], %[[N]] {which = 2 : i64}
  mk_cta.stamp %context, %n, %n {which = 2 : i64}
  // CHECK: mk_cta.step %[[C]]
  %step = mk_cta.step %context
  // CHECK: mk_cta.mma %{{.*}}, %{{.*}}, %{{.*}} : vector<4xi32>, vector<2xi32>, vector<4xf32>
  %sums = mk_cta.mma %a, %b, %acc : vector<4xi32>, vector<2xi32>, vector<4xf32>
  return
}
