// Tests that mk.generic parses and prints: reductions, tables, integers, iteration numbers.
// RUN: mk-opt %s | mk-opt | FileCheck %s
func.func @f(%x: tensor<?x64xf32>, %v: tensor<16xf32>, %i: tensor<?xi32>) -> tensor<?x4xf32> {
  // CHECK: mk.generic %{{.*}}, %{{.*}}, %{{.*}} sizes [4, 16] reduce 1 by "sum" maps [#{{.*}}, #{{.*}}, #{{.*}}] :
  // CHECK-NEXT: ^bb0(%{{.*}}: f32, %{{.*}}: f32, %{{.*}}: i32)
  // CHECK-NEXT: mk.iteration 1
  %y = mk.generic %x, %v, %i sizes [4, 16] reduce 1 by "sum"
      maps [affine_map<(d0, d1) -> (d1 * 4 + d0)>, affine_map<(d0, d1) -> ((d1 + 3) mod 16)>, affine_map<(d0, d1) -> (0)>]
      : (tensor<?x64xf32>, tensor<16xf32>, tensor<?xi32>) -> tensor<?x4xf32> {
  ^bb0(%a: f32, %b: f32, %n: i32):
    %j = mk.iteration 1
    %is = arith.cmpi slt, %j, %n : i32
    %p = arith.mulf %a, %b : f32
    %e = math.exp %p : f32
    %s = arith.select %is, %e, %p : f32
    mk.yield %s : f32
  }
  // CHECK: mk.generic %{{.*}} tables %{{.*}} sizes [4]
  // CHECK: mk.element %{{.*}}, %{{.*}} : tensor<?x64xf32>
  %z = mk.generic %y tables %x sizes [4] maps [affine_map<(d0) -> (3 - d0)>]
      : (tensor<?x4xf32>, tensor<?x64xf32>) -> tensor<?x4xf32> {
  ^bb0(%a: f32, %t: tensor<?x64xf32>):
    %n = arith.fptosi %a : f32 to i32
    %e = mk.element %t, %n : tensor<?x64xf32>
    mk.yield %e : f32
  }
  return %z : tensor<?x4xf32>
}
