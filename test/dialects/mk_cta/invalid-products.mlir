// RUN: mk-opt %s --split-input-file --verify-diagnostics

// Tests that the operands of a product agree in type and size: weights are lanes times the elements of a word, a row's
// part is one word.

func.func @type(%a: vector<16xf32>, %w: vector<32xbf16>, %x: vector<2xf32>) {
  // expected-error@+1 {{expects weights and row of one element type, got 'vector<32xbf16>' and 'vector<2xf32>'}}
  %0 = mk_cta.dot %a, %w, %x : vector<16xf32>, vector<32xbf16>, vector<2xf32>
  return
}

// -----
func.func @size(%a: vector<16xf32>, %w: vector<16xbf16>, %x: vector<2xbf16>) {
  // expected-error@+1 {{expects 32 weights and 2 row elements for 16 lanes, got 'vector<16xbf16>' and 'vector<2xbf16>'}}
  %0 = mk_cta.dot %a, %w, %x : vector<16xf32>, vector<16xbf16>, vector<2xbf16>
  return
}

// -----
func.func @types(%t: memref<24x2x16xf32>, %r: memref<?x24xbf16>, %acc: memref<12x2x16xf32>, %n: index) {
  // expected-error@+1 {{expects tile and rows of one element type}}
  mk_cta.matmul %t, %r[%n], %acc {count = 1 : i64} : memref<24x2x16xf32>, memref<?x24xbf16>, memref<12x2x16xf32>
  return
}

// -----
func.func @rows(%t: memref<24x2x32xbf16>, %r: memref<?x24xbf16>, %acc: memref<12x2x16xf32>, %n: index) {
  // expected-error@+1 {{expects rows of 48 elements, got 'memref<?x24xbf16>'}}
  mk_cta.matmul %t, %r[%n], %acc {count = 1 : i64} : memref<24x2x32xbf16>, memref<?x24xbf16>, memref<12x2x16xf32>
  return
}

// -----
func.func @count(%t: memref<24x2x16xf32>, %r: memref<?x24xf32>, %acc: memref<12x2x16xf32>, %n: index) {
  // expected-error@+1 {{expects accumulators for 13 rows of the tile's groups and lanes}}
  mk_cta.matmul %t, %r[%n], %acc {count = 13 : i64} : memref<24x2x16xf32>, memref<?x24xf32>, memref<12x2x16xf32>
  return
}
