// Tests that a function and a view go into the loop nest that alone reads them, that a join's place becomes that of the
// reader, and that what is read twice, more often than made, or reduced stays.
// RUN: mk-opt %s --mk-fuse-generic | FileCheck %s
!x = tensor<?x64xf32>
#id = affine_map<(d0) -> (d0)>
// CHECK: #[[$T:.*]] = affine_map<(d0, d1) -> (d1 * 16 + d0)>
// CHECK-LABEL: @turned
// CHECK: %[[Y:.*]] = mk.generic %arg1, %arg0 sizes [16, 4] maps [#[[$T]], #[[$T]]]
// CHECK: %[[E:.*]] = math.exp
// CHECK-NEXT: arith.addf %[[E]]
// CHECK: return %[[Y]]
func.func @turned(%x: !x, %z: !x) -> !x {
  %a = mk.generic %x sizes [4, 16] maps [affine_map<(d0, d1) -> (d0 * 16 + d1)>] : (!x) -> !x {
  ^bb0(%e: f32):
    %f = math.exp %e : f32
    mk.yield %f : f32
  }
  %y = mk.generic %a, %z sizes [16, 4] maps [affine_map<(d0, d1) -> (d1 * 16 + d0)>, affine_map<(d0, d1) -> (d1 * 16 + d0)>] : (!x, !x) -> !x {
  ^bb0(%e: f32, %f: f32):
    %g = arith.addf %e, %f : f32
    mk.yield %g : f32
  }
  return %y : !x
}
// CHECK-LABEL: @kept
// CHECK-COUNT-4: mk.generic
func.func @kept(%x: !x) -> (!x, !x) {
  %a = mk.generic %x sizes [64] maps [#id] : (!x) -> !x {
  ^bb0(%e: f32):
    %f = math.exp %e : f32
    mk.yield %f : f32
  }
  %s = mk.generic %a sizes [1, 64] reduce 1 by "sum" maps [affine_map<(d0, d1) -> (d1)>] : (!x) -> tensor<?x1xf32> {
  ^bb0(%e: f32):
    mk.yield %e : f32
  }
  %y = mk.generic %a, %s sizes [64] maps [#id, affine_map<(d0) -> (0)>] : (!x, tensor<?x1xf32>) -> !x {
  ^bb0(%e: f32, %f: f32):
    %g = arith.divf %e, %f : f32
    mk.yield %g : f32
  }
  %z = mk.generic %y sizes [64, 2] reduce 1 by "max" maps [affine_map<(d0, d1) -> (d0)>] : (!x) -> !x {
  ^bb0(%e: f32):
    mk.yield %e : f32
  }
  return %y, %z : !x, !x
}
