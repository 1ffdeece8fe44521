// Tests that mk.kv_cache names a layer by a number that is not negative.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @kv_cache
func.func @kv_cache() {
  // CHECK: mk.kv_cache {layer = 3 : i64} : !mk.cache<2x16xbf16>
  %0 = mk.kv_cache {layer = 3 : i64} : !mk.cache<2x16xbf16>
  return
}

// -----

func.func @f() {
  // expected-error @+1 {{'mk.kv_cache' op expected a layer >= 0, found -1}}
  %0 = mk.kv_cache {layer = -1 : i64} : !mk.cache<2x16xbf16>
  return
}
