// Tests that mk.kv_append stores keys and values as wide as the cache, whose type it keeps.
// RUN: mk-opt %s --split-input-file --verify-diagnostics | mk-opt --split-input-file | FileCheck %s

// CHECK-LABEL: @kv_append
func.func @kv_append(%c: !mk.cache<2x16xbf16>, %k: tensor<?x32xf32>, %v: tensor<?x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // CHECK: mk.kv_append %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : (!mk.cache<2x16xbf16>,
  %0 = mk.kv_append %c, %k, %v, %p, %s : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
  return
}

// -----

func.func @f(%c: !mk.cache<2x16xbf16>, %k: tensor<?x64xf32>, %v: tensor<?x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{'mk.kv_append' op expected keys of 32 columns as the cache, found 'tensor<?x64xf32>'}}
  %0 = mk.kv_append %c, %k, %v, %p, %s : (!mk.cache<2x16xbf16>, tensor<?x64xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
  return
}

// -----

func.func @f(%c: !mk.cache<2x16xbf16>, %k: tensor<?x32xf32>, %v: tensor<?x64xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected values of 32 columns as the cache, found 'tensor<?x64xf32>'}}
  %0 = mk.kv_append %c, %k, %v, %p, %s : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
  return
}

// -----

func.func @f(%c: !mk.cache<2x16xbf16>, %k: tensor<?x32xf32>, %v: tensor<?x32xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {
  // expected-error @+1 {{expected the grown cache to be '!mk.cache<2x16xbf16>', found '!mk.cache<2x16xf32>'}}
  %0 = mk.kv_append %c, %k, %v, %p, %s : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xf32>
  return
}
