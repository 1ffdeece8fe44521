// RUN: mk-opt %s --split-input-file --verify-diagnostics

// Tests that shared memory is static and where the kernel puts it, that barriers of the ring are words of 64 bits and its
// slots rows of words, that arenas have the names of Abi.def, and that fragments are as large as those of the tensor cores.

func.func @space() {
  // expected-error@+1 {{expects a memref of static shape in memory space 3, got 'memref<4xi64>'}}
  %0 = mk_cta.shared 0 : memref<4xi64>
  return
}

// -----
func.func @shape() {
  // expected-error@+1 {{expects a memref of static shape in memory space 3, got 'memref<?xi64, 3>'}}
  %0 = mk_cta.shared 0 : memref<?xi64, 3>
  return
}

// -----
func.func @barriers(%full: memref<4xi32, 3>, %slot: index) {
  // expected-error@+1 {{must be 1D memref of 64-bit signless integer values}}
  mk_cta.ring_release %full[%slot] : memref<4xi32, 3>
  return
}

// -----
func.func @slots(%ring: memref<4096xi32, 3>, %full: memref<4xi64, 3>, %context: !mk_cta.context, %n: index, %bytes: i32) {
  // expected-error@+1 {{must be 2D memref of 32-bit signless integer values}}
  mk_cta.ring_fill %ring[%n], %full, %context, "stream", %n, %bytes : memref<4096xi32, 3>, memref<4xi64, 3>
  return
}

// -----
func.func @arena(%ring: memref<4x4096xi32, 3>, %full: memref<4xi64, 3>, %context: !mk_cta.context, %n: index, %bytes: i32) {
  // expected-error@+1 {{expects the name of a context field, got "weights"}}
  mk_cta.ring_fill %ring[%n], %full, %context, "weights", %n, %bytes : memref<4x4096xi32, 3>, memref<4xi64, 3>
  return
}

// -----
func.func @cache(%ring: memref<4x4096xi32, 3>, %full: memref<4xi64, 3>, %context: !mk_cta.context, %n: index, %bytes: i32) {
  // expected-error@+1 {{expects the name of a context field, got "cache"}}
  mk_cta.ring_copy %ring[%n], %n, %full, %context, "cache", %n, %bytes : memref<4x4096xi32, 3>, memref<4xi64, 3>
  return
}

// -----
func.func @fragments(%a: vector<2xi32>, %b: vector<2xi32>, %acc: vector<4xf32>) {
  // expected-error@+1 {{must be vector of 32-bit signless integer values of length 4}}
  %0 = mk_cta.mma %a, %b, %acc : vector<2xi32>, vector<2xi32>, vector<4xf32>
  return
}
