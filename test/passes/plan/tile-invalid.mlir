// RUN: mk-opt %s --mk-tile -split-input-file -verify-diagnostics

// Tests that an epilogue which no order of weight rows can serve tile by tile is refused.

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    mk_task.kind @both class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %p: tensor<?xi32>, %f: tensor<8xf32>):
      %y:2 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>) epilogue {
      ^bb0(%acc: tensor<?x64xf32>):
        // expected-note@+1 {{the other op is here}}
        %r = mk.rope %acc, %p, %f {head_dim = 16 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
        %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
        %u = mk.slice %acc {offset = 32 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
        // expected-error@+1 {{needs other partners in a weight tile for columns from 0 than another op}}
        %s = mk.glu %g, %u : (tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32>
        mk.yield %r, %s : tensor<?x64xf32>, tensor<?x32xf32>
      }
      mk.yield %y#0, %y#1 : tensor<?x64xf32>, tensor<?x32xf32>
    }
  }
}

// -----

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    mk_task.kind @norm class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %g: tensor<64xf32>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> epilogue {
      ^bb0(%acc: tensor<?x64xf32>):
        // expected-error@+1 {{cannot follow mk.linear in one task: it needs more columns than one weight tile has}}
        %n = mk.rms_norm %acc, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
        mk.yield %n : tensor<?x64xf32>
      }
      mk.yield %y : tensor<?x64xf32>
    }
  }
}

// -----

module attributes {mk.target = #mk.target<kind = "cpu", features = "", workers = 2, lanes = 8, bandwidth = 30>} {
  mk_task.program @step {
    mk_task.kind @store class(tiles) domain(tokens) {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<128x64xf32>, %p: tensor<?xi32>, %f: tensor<3xf32>, %c: !mk.cache<2x32xbf16>):
      %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<128x64xf32>) -> !mk.cache<2x32xbf16> epilogue {
      ^bb0(%acc: tensor<?x128xf32>):
        %k = mk.slice %acc {offset = 0 : i64} : (tensor<?x128xf32>) -> tensor<?x64xf32>
        %v = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> tensor<?x64xf32>
        // expected-error@+1 {{rotates 3 pairs of columns of a head; expected an even number}}
        %r = mk.rope %k, %p, %f {head_dim = 32 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<3xf32>) -> tensor<?x64xf32>
        %d = mk.kv_append %c, %r, %v, %p, %p : (!mk.cache<2x32xbf16>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x32xbf16>
        mk.yield %d : !mk.cache<2x32xbf16>
      }
      mk.yield %y : !mk.cache<2x32xbf16>
    }
  }
}
