// RUN: mk-opt %s | mk-opt | FileCheck %s

// Tests that every op of the dialect prints as it is parsed.

// CHECK-LABEL: func.func @memory(%{{.*}}: !mk_cta.context, %{{.*}}: index)
func.func @memory(%context: !mk_cta.context, %n: index) {
  // CHECK: mk_cta.context_word %[[C:.*]], "pool_pages"
  %0 = mk_cta.context_word %context, "pool_pages"
  // CHECK: %[[I:.*]] = mk_cta.instruction %[[C]], %[[N:.*]], %[[N]]
  %i = mk_cta.instruction %context, %n, %n
  // CHECK: mk_cta.field %[[I]], "operand"[15]
  %1 = mk_cta.field %i, "operand" [15]
  // CHECK: mk_cta.view %[[C]], "activations", %[[N]] : memref<?x576xf32, strided<[576, 1]>>
  %2 = mk_cta.view %context, "activations", %n : memref<?x576xf32, strided<[576, 1]>>
  return
}

// CHECK-LABEL: func.func @products
func.func @products(%a: vector<16xf32>, %w: vector<32xbf16>, %x: vector<2xbf16>, %tile: memref<24x2x32xbf16>,
                    %rows: memref<?x48xbf16>, %acc: memref<12x2x16xf32>, %n: index) -> vector<16xf32> {
  // CHECK: mk_cta.dot %{{.*}}, %{{.*}}, %{{.*}} : vector<16xf32>, vector<32xbf16>, vector<2xbf16>
  %0 = mk_cta.dot %a, %w, %x : vector<16xf32>, vector<32xbf16>, vector<2xbf16>
  // CHECK: mk_cta.matmul %{{.*}}, %{{.*}}[%{{.*}}], %{{.*}} {count = 4 : i64}
  mk_cta.matmul %tile, %rows[%n], %acc {count = 4 : i64} : memref<24x2x32xbf16>, memref<?x48xbf16>, memref<12x2x16xf32>
  return %0 : vector<16xf32>
}

// CHECK-LABEL: func.func @order(
// CHECK-SAME: %[[C:.*]]: !mk_cta.context, %[[N:.*]]: index, %[[M:.*]]: memref<1xi64>, %[[V:.*]]: i64)
func.func @order(%context: !mk_cta.context, %n: index, %mailbox: memref<1xi64>, %count: i64) {
  // CHECK: mk_cta.wait %[[C]], %[[N]], %[[N]], %[[N]]
  mk_cta.wait %context, %n, %n, %n
  // CHECK: mk_cta.signal %[[C]], %[[N]]
  mk_cta.signal %context, %n
  // CHECK: mk_cta.publish_step %[[C]]
  mk_cta.publish_step %context
  // CHECK: mk_cta.await_step %[[C]], %[[N]], %[[N]]
  mk_cta.await_step %context, %n, %n
  // CHECK: mk_cta.post %[[M]][%[[N]]], %[[V]] : memref<1xi64>
  mk_cta.post %mailbox[%n], %count : memref<1xi64>
  // CHECK: %[[LINE:.*]] = mk_cta.trace_line %[[C]], %[[N]], %[[N]], %[[N]]
  %line = mk_cta.trace_line %context, %n, %n, %n
  // CHECK: mk_cta.stamp %[[LINE]] {which = 2 : i64}
  mk_cta.stamp %line {which = 2 : i64}
  // CHECK: mk_cta.stamp %[[LINE]] value %[[V]] {which = 4 : i64}
  mk_cta.stamp %line value %count {which = 4 : i64}
  return
}
