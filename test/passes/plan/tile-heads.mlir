// RUN: mk-opt %s --mk-tile -split-input-file -verify-diagnostics | FileCheck %s

// Tests that work on heads without a product is cut into heads, those of the values included, and so is a norm of heads that
// stands alone; a rotation that stands alone needs its partner only.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 3, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    // CHECK: mk_task.kind @heads class(columns) domain(tokens) units(8) segments
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 128, outer = 4, stride = 32, half = 16, partner = 16, whole = true>,
    // CHECK-SAME:  #mk_task.segment<base = 128, limit = 192, outer = 2, stride = 32, half = 16, partner = 16, whole = true>,
    // CHECK-SAME:  #mk_task.segment<base = 192, limit = 256, outer = 2, stride = 32, half = 16, partner = 16, whole = true>]
    mk_task.kind @heads class(columns) domain(tokens) {
    ^bb0(%q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %v: tensor<?x64xf32>, %g: tensor<32xf32>, %c: !mk.cache<2x32xf32>, %p: tensor<?xi32>):
      %y:2 = mk.rowwise %q, %k, %v : (tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x128xf32>, !mk.cache<2x32xf32>) {
      ^bb0(%a: tensor<?x128xf32>, %b: tensor<?x64xf32>, %d: tensor<?x64xf32>):
        %n = mk.head_norm %a, %g {head_dim = 32 : i64, eps = 1.0e-6 : f64} : (tensor<?x128xf32>, tensor<32xf32>) -> tensor<?x128xf32>
        %m = mk.head_norm %b, %g {head_dim = 32 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<32xf32>) -> tensor<?x64xf32>
        %s = mk.kv_append %c, %m, %d, %p, %p : (!mk.cache<2x32xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x32xf32>
        mk.yield %n, %s : tensor<?x128xf32>, !mk.cache<2x32xf32>
      }
      mk.yield %y#0, %y#1 : tensor<?x128xf32>, !mk.cache<2x32xf32>
    }
    // CHECK: mk_task.kind @norm class(columns) domain(tokens) units(2)
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16, whole = true>]
    mk_task.kind @norm class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %g: tensor<32xf32>):
      %y = mk.head_norm %x, %g {head_dim = 32 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<32xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
    // CHECK: mk_task.kind @rope class(columns) domain(tokens) units(4)
    // CHECK-SAME: [#mk_task.segment<base = 0, limit = 64, outer = 2, stride = 32, half = 16, partner = 16>]
    mk_task.kind @rope class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %f: tensor<16xf32>):
      %y = mk.rope %x, %p, %f {head_dim = 32 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<16xf32>) -> tensor<?x64xf32>
      mk.yield %y : tensor<?x64xf32>
    }
  }
}

// -----

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    mk_task.kind @norm class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %g: tensor<32xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> epilogue {
      ^bb0(%acc: tensor<?x64xf32>):
        // expected-error@+1 {{cannot follow mk.linear in one task: it needs more columns than one weight tile has}}
        %n = mk.head_norm %acc, %g {head_dim = 32 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<32xf32>) -> tensor<?x64xf32>
        mk.yield %n : tensor<?x64xf32>
      }
      mk.yield %y : tensor<?x64xf32>
    }
  }
}

// -----

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    mk_task.kind @norm class(columns) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %g: tensor<64xf32>):
      %y = mk.rowwise %x : (tensor<?x64xf32>) -> tensor<?x64xf32> {
      ^bb0(%a: tensor<?x64xf32>):
        // expected-error@+1 {{cannot follow other row-wise work in one task: it needs more columns than one head has}}
        %n = mk.rms_norm %a, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
        mk.yield %n : tensor<?x64xf32>
      }
      mk.yield %y : tensor<?x64xf32>
    }
  }
}
