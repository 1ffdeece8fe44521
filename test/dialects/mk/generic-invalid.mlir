// Tests that mk.generic proves its column numbers from the sizes, and refuses what is no loop nest.
// RUN: mk-opt %s --split-input-file --verify-diagnostics
!x = tensor<?x64xf32>
func.func @outside(%x: !x) {
  // expected-error @+1 {{expected map 0 within the 64 columns of its input, found columns 1 .. 64}}
  %y = mk.generic %x sizes [64] maps [affine_map<(d0) -> (d0 + 1)>] : (!x) -> !x {
  ^bb0(%a: f32):
    mk.yield %a : f32
  }
  return
}
// -----
!x = tensor<?x64xf32>
func.func @negative(%x: !x) {
  // expected-error @+1 {{expected map 0 to divide nothing negative and to stay within 32 bits}}
  %y = mk.generic %x sizes [64] maps [affine_map<(d0) -> ((d0 - 1) mod 64)>] : (!x) -> !x {
  ^bb0(%a: f32):
    mk.yield %a : f32
  }
  return
}
// -----
!x = tensor<?x64xf32>
func.func @columns(%x: !x) {
  // expected-error @+1 {{expected a result of 32 columns as its parallel sizes make}}
  %y = mk.generic %x sizes [32, 2] reduce 1 by "sum" maps [affine_map<(d0, d1) -> (d0 * 2 + d1)>] : (!x) -> !x {
  ^bb0(%a: f32):
    mk.yield %a : f32
  }
  return
}
// -----
!x = tensor<?x64xf32>
func.func @combiner(%x: !x) {
  // expected-error @+1 {{expected reductions by "sum", "product", "max" or "min"}}
  %y = mk.generic %x sizes [64, 2] reduce 1 by "mean" maps [affine_map<(d0, d1) -> (d0)>] : (!x) -> !x {
  ^bb0(%a: f32):
    mk.yield %a : f32
  }
  return
}
// -----
!x = tensor<?x64xf32>
func.func @region(%x: !x) {
  // expected-error @+1 {{expected its region to hold scalar arithmetic, found arith.extf}}
  %y = mk.generic %x sizes [64] maps [affine_map<(d0) -> (d0)>] : (!x) -> !x {
  ^bb0(%a: f32):
    %b = arith.extf %a : f32 to f64
    mk.yield %a : f32
  }
  return
}
// -----
func.func @rows(%v: tensor<64xf32>) {
  // expected-error @+1 {{expected an operand that has rows}}
  %y = mk.generic %v sizes [64] maps [affine_map<(d0) -> (d0)>] : (tensor<64xf32>) -> tensor<?x64xf32> {
  ^bb0(%a: f32):
    mk.yield %a : f32
  }
  return
}
