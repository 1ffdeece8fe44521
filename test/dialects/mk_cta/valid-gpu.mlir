// RUN: mk-opt %s | mk-opt | FileCheck %s

// Tests that every op of a GPU prints as it is parsed.

// CHECK-LABEL: func.func @ring
func.func @ring(%context: !mk_cta.context, %n: index, %slot: index, %parity: i32, %bytes: i32, %offset: index, %over: memref<1xi32, 3>) {
  // CHECK: %[[FULL:.*]] = mk_cta.shared 0 : memref<4xi64, 3>
  %full = mk_cta.shared 0 : memref<4xi64, 3>
  // CHECK: %[[EMPTY:.*]] = mk_cta.shared 32 : memref<4xi64, 3>
  %empty = mk_cta.shared 32 : memref<4xi64, 3>
  %quit = mk_cta.shared 64 : memref<1xi32, 3>
  %ring = mk_cta.shared 128 : memref<4x4096xi32, 3>
  // CHECK: mk_cta.ring_init %[[FULL]], %[[EMPTY]] {consumers = 8 : i64} : memref<4xi64, 3>, memref<4xi64, 3>
  mk_cta.ring_init %full, %empty {consumers = 8 : i64} : memref<4xi64, 3>, memref<4xi64, 3>
  // CHECK: mk_cta.ring_await empty %[[EMPTY]][%[[S:.*]]], %[[P:.*]] in %[[C:.*]], %[[N:.*]], %[[N]], %[[O:.*]] quit %[[Q:.*]] : memref<4xi64, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  %free = mk_cta.ring_await empty %empty[%slot], %parity in %context, %n, %n, %over quit %quit : memref<4xi64, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  // CHECK: mk_cta.ring_fill %{{.*}}[%[[S]]], %[[FULL]], %{{.*}}, "stream", %{{.*}}, %{{.*}} : memref<4x4096xi32, 3>, memref<4xi64, 3>
  mk_cta.ring_fill %ring[%slot], %full, %context, "stream", %offset, %bytes : memref<4x4096xi32, 3>, memref<4xi64, 3>
  // CHECK: mk_cta.ring_await landed %[[FULL]][%[[S]]], %[[P]] in %[[C]], %[[N]], %[[N]], %[[O]] : memref<4xi64, 3>, memref<1xi32, 3>{{$}}
  %landed = mk_cta.ring_await landed %full[%slot], %parity in %context, %n, %n, %over : memref<4xi64, 3>, memref<1xi32, 3>
  // CHECK: mk_cta.ring_await full %[[FULL]][%[[S]]], %[[P]] in %[[C]], %[[N]], %[[N]], %[[O]] timed %[[Q]] : memref<4xi64, 3>, memref<1xi32, 3> timed memref<1xi32, 3>
  %came = mk_cta.ring_await full %full[%slot], %parity in %context, %n, %n, %over timed %quit : memref<4xi64, 3>, memref<1xi32, 3> timed memref<1xi32, 3>
  // CHECK: mk_cta.fragment %{{.*}}[%[[S]]], %[[S]] : memref<4x4096xi32, 3> -> vector<4xi32>
  %words = mk_cta.fragment %ring[%slot], %slot : memref<4x4096xi32, 3> -> vector<4xi32>
  // CHECK: mk_cta.ring_release %[[EMPTY]][%[[S]]] after %[[P]] : memref<4xi64, 3>, i32
  mk_cta.ring_release %empty[%slot] after %parity : memref<4xi64, 3>, i32
  // CHECK: mk_cta.ring_release %[[EMPTY]][%[[S]]] : memref<4xi64, 3>
  mk_cta.ring_release %empty[%slot] : memref<4xi64, 3>
  return
}

// CHECK-LABEL: func.func @cache
func.func @cache(%context: !mk_cta.context, %slot: index, %bytes: i32, %full: memref<4xi64, 3>,
                 %ring: memref<4x4096xi32, 3>, %word: memref<1xi32, 3>, %quit: memref<1xi32, 3>) {
  // CHECK: mk_cta.tell %[[W:.*]], %[[S:.*]] : memref<1xi32, 3>
  mk_cta.tell %word, %slot : memref<1xi32, 3>
  // CHECK: mk_cta.await_told begun %[[W]], %[[S]] in %{{.*}}, %[[S]], %[[S]], %[[W]] quit %{{.*}} : memref<1xi32, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  %told = mk_cta.await_told begun %word, %slot in %context, %slot, %slot, %word quit %quit : memref<1xi32, 3>, memref<1xi32, 3>, memref<1xi32, 3>
  // CHECK: mk_cta.proxy_fence global
  mk_cta.proxy_fence global
  // CHECK: mk_cta.proxy_fence shared
  mk_cta.proxy_fence shared
  // CHECK: mk_cta.ring_announce %[[FULL:.*]][%[[S]]], %[[B:.*]] : memref<4xi64, 3>
  mk_cta.ring_announce %full[%slot], %bytes : memref<4xi64, 3>
  // CHECK: mk_cta.ring_copy %[[R:.*]][%[[S]]], %[[S]], %[[FULL]], %{{.*}}, "kv", %[[S]], %[[B]] : memref<4x4096xi32, 3>, memref<4xi64, 3>
  mk_cta.ring_copy %ring[%slot], %slot, %full, %context, "kv", %slot, %bytes : memref<4x4096xi32, 3>, memref<4xi64, 3>
  // CHECK: mk_cta.transposed %[[R]][%[[S]]], %[[S]] : memref<4x4096xi32, 3> -> vector<4xi32>
  %words = mk_cta.transposed %ring[%slot], %slot : memref<4x4096xi32, 3> -> vector<4xi32>
  return
}

// CHECK-LABEL: func.func @others
func.func @others(%context: !mk_cta.context, %n: index, %hint: i1, %a: vector<4xi32>, %b: vector<2xi32>, %acc: vector<4xf32>) {
  // CHECK: mk_cta.thread
  %thread = mk_cta.thread
  // CHECK: mk_cta.poll %[[C:.*]], %[[N:.*]], %[[N]], %[[N]], %[[N]], %[[HINT:.*]]
  %arrived = mk_cta.poll %context, %n, %n, %n, %n, %hint
  // CHECK: mk_cta.arrive %[[C]], %[[N]], %[[HINT]]
  mk_cta.arrive %context, %n, %hint
  // CHECK: mk_cta.step %[[C]]
  %step = mk_cta.step %context
  // CHECK: mk_cta.mma %{{.*}}, %{{.*}}, %{{.*}} : vector<4xi32>, vector<2xi32>, vector<4xf32>
  %sums = mk_cta.mma %a, %b, %acc : vector<4xi32>, vector<2xi32>, vector<4xf32>
  return
}

// CHECK-LABEL: func.func @flagged
func.func @flagged(%context: !mk_cta.context, %n: index, %rows: memref<?x8xi32, strided<[8, 1]>, 1>, %word: i32,
                   %flag: memref<1xi32, 3>, %begin: i64) {
  // CHECK: mk_cta.load_flagged %[[R:.*]][%[[N:.*]], %[[N]]] : memref<?x8xi32, strided<[8, 1]>, 1> -> i32
  %one = mk_cta.load_flagged %rows[%n, %n] : memref<?x8xi32, strided<[8, 1]>, 1> -> i32
  // CHECK: mk_cta.store_flagged %{{.*}}, %[[R]][%[[N]], %[[N]]] : memref<?x8xi32, strided<[8, 1]>, 1>
  mk_cta.store_flagged %word, %rows[%n, %n] : memref<?x8xi32, strided<[8, 1]>, 1>
  // CHECK: mk_cta.clear_flagged %[[R]][%[[N]], %[[N]]] : memref<?x8xi32, strided<[8, 1]>, 1>
  mk_cta.clear_flagged %rows[%n, %n] : memref<?x8xi32, strided<[8, 1]>, 1>
  // CHECK: mk_cta.look_again %{{.*}}, %[[N]], %[[N]], %{{.*}}, %{{.*}} : memref<1xi32, 3>
  %since, %again = mk_cta.look_again %context, %n, %n, %flag, %begin : memref<1xi32, 3>
  // CHECK: mk_cta.await_predicate %[[N]] of %[[N]] in %{{.*}}, %[[N]], %[[N]], %{{.*}} patient : memref<1xi32, 3>
  %side = mk_cta.await_predicate %n of %n in %context, %n, %n, %flag patient : memref<1xi32, 3>
  return
}
