// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_FUSE_TD
#define MK_PASSES_FUSE_TD

include "mlir/Pass/PassBase.td"

// The fuse stage rewrites mk into mk: first what a step needs but no model says (sampling, splits), then one mk.linear for
// each read of the same rows, then neighbours into prologues and epilogues. The order below is the order to run them in.
class Mk_FusePass<string name> : Pass<name, "::mlir::func::FuncOp"> {
  let dependentDialects = ["::mlir::mk::MkDialect"];
}

//===----------------------------------------------------------------------===//
// What a step needs
//===----------------------------------------------------------------------===//

def AddSampler : Mk_FusePass<"mk-add-sampler"> {
  let summary = "append greedy choice, sampling and the end of the step to the model";
  let description = [{
    Puts `mk.argmax`, `mk.sample` and `mk.advance` before the return, so that the program chooses the next token and
    starts the next step itself: a generation is one call, without a round trip to the host per token. A function that has
    an argument with `mk.input` returns rows for their own sake: there `mk.finish` of all of them ends the step.

    **Requires** a function that returns exactly one tensor of logits, or has inputs and returns rows.
    **Ensures** they are still returned, and `mk.advance` or `mk.finish` comes last.

    ```mlir
    return %logits : tensor<?x160xf32>
    // becomes
    %greedy = mk.argmax %logits : (tensor<?x160xf32>) -> tensor<?xi32>
    %next = mk.sample %logits, %greedy : (tensor<?x160xf32>, tensor<?xi32>) -> tensor<?xi32>
    mk.advance %next : tensor<?xi32>
    return %logits : tensor<?x160xf32>
    ```
  }];
}

def SplitAttention : Mk_FusePass<"mk-split-attention"> {
  let summary = "cut attention into ranges of positions and their join";
  let description = [{
    `mk.attention` becomes `mk.attend`, which handles each range of `split` positions on its own, and `mk.combine`. One
    long context then keeps all workers busy, and because the ranges begin at fixed positions the result of a token
    does not depend on the batch. The sizes come from `mk.options`. With a window there are only as many ranges as one can
    meet, and a window that no context outgrows is none.

    **Requires** the module attribute `mk.options`.
    **Ensures** no `mk.attention` remains.

    ```mlir
    %y = mk.attention %q, %c, %positions, %slots {scale = 0.25 : f64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
    // becomes, with split = 32 and max_length = 64
    %p = mk.attend %q, %c, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    %y = mk.combine %p, %positions {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    ```
  }];
}

def SplitArgmax : Mk_FusePass<"mk-split-argmax"> {
  let summary = "cut argmax into blocks of one weight tile and their join";
  let description = [{
    `mk.argmax` becomes `mk.argmax_partial` over blocks of `2 * lanes` columns and `mk.argmax_reduce`. The partial step
    then fits into the epilogue of the head, which has each tile's logits in registers: nobody reads the logits again.

    **Requires** the module attribute `mk.target`.
    **Ensures** no `mk.argmax` remains.

    ```mlir
    %t = mk.argmax %logits : (tensor<?x160xf32>) -> tensor<?xi32>
    // becomes, with 16 lanes
    %p = mk.argmax_partial %logits {block = 32 : i64} : (tensor<?x160xf32>) -> tensor<?x10xf32>
    %t = mk.argmax_reduce %p : (tensor<?x10xf32>) -> tensor<?xi32>
    ```
  }];
}

//===----------------------------------------------------------------------===//
// One linear for each read of the same rows
//===----------------------------------------------------------------------===//

def ConcatLinears : Mk_FusePass<"mk-concat-linears"> {
  let summary = "join the linears that read the same rows";
  let description = [{
    Plain linears of one block with the same input, element type and K become one over all their weights, in program
    order; each old result is a slice of the new one (query/key/value, gate/up). One task then prepares the rows for
    all of them, and a later pass may pair their columns. Linears that have a region already are left alone: their
    neighbours could disagree on the rows. After three linears with a bias each another one begins anew: the operands of
    all of them would not fit into an instruction.

    **Ensures** no two plain linears of a block read the same input with the same kind of weights, biases aside.

    ```mlir
    %g = mk.linear %x, [%wg] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
    %u = mk.linear %x, [%wu] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
    // becomes
    %gu = mk.linear %x, [%wg, %wu] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<96x64xf32>) -> tensor<?x192xf32>
    %g = mk.slice %gu {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    %u = mk.slice %gu {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    ```
  }];
}

//===----------------------------------------------------------------------===//
// Prologues
//===----------------------------------------------------------------------===//

def FuseNorm : Mk_FusePass<"mk-fuse-norm"> {
  let summary = "move norms and row selection into the prologue of the linears that read them";
  let description = [{
    An `mk.rms_norm`, `mk.layer_norm` or `mk.select_rows` that only linears read is cloned into the prologue of each. Computing the norm
    again in every worker costs less than a task, its event, and a trip of the rows through memory. A value that
    anything else reads is left alone: it must exist in memory anyway. But if the others are products with experts, the
    linears get copies of an `mk.rms_norm`, which itself comes behind them: a router need not wait for the rows that the
    experts will read. Of a norm and a selection the selection comes first, so that only the rows that are needed are
    scaled.

    **Ensures** no `mk.rms_norm`, `mk.layer_norm` or `mk.select_rows` is read by linears only.

    ```mlir
    %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    %y = mk.linear %n, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
    // becomes
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> prologue {
    ^bb0(%row: tensor<?x64xf32>):
      %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
      mk.yield %n : tensor<?x64xf32>
    }
    ```
  }];
}

def FuseCombine : Mk_FusePass<"mk-fuse-combine"> {
  let summary = "move the join of attention ranges into the output projection";
  let description = [{
    An `mk.combine` whose only reader is one linear moves into its prologue, which then reads the partial results of
    `mk.attend` themselves. With two readers it stays: the join costs `splits` times the rows, so it is done once.

    **Requires** `mk-split-attention`.
    **Ensures** no `mk.combine` has a linear as its only reader.

    ```mlir
    %a = mk.combine %p, %positions {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    %y = mk.linear %a, [%w] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    // becomes
    %y = mk.linear %p, [%w] : (tensor<?x144xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> prologue {
    ^bb0(%row: tensor<?x144xf32>):
      %a = mk.combine %row, %positions {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64}
        : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
      mk.yield %a : tensor<?x64xf32>
    }
    ```
  }];
}

//===----------------------------------------------------------------------===//
// Epilogues
//===----------------------------------------------------------------------===//

def FuseSlice : Mk_FusePass<"mk-fuse-slice"> {
  let summary = "give a linear one result for each slice of its accumulators";
  let description = [{
    When slices are all that reads a linear's result, they move into its epilogue. A slice of accumulators is free,
    and the passes after this one see plain results where there were slices. When something else reads the whole
    result too, it is in memory anyway and the slices stay.

    **Ensures** no linear has a result of plain accumulators that only slices read.

    ```mlir
    %gu = mk.linear %x, [%wg, %wu] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<96x64xf32>) -> tensor<?x192xf32>
    %g = mk.slice %gu {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    %u = mk.slice %gu {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
    // becomes
    %g, %u = mk.linear %x, [%wg, %wu] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<96x64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>) epilogue {
    ^bb0(%acc: tensor<?x192xf32>):
      %0 = mk.slice %acc {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      %1 = mk.slice %acc {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      mk.yield %0, %1 : tensor<?x96xf32>, tensor<?x96xf32>
    }
    ```
  }];
}

def FuseResidual : Mk_FusePass<"mk-fuse-residual"> {
  let summary = "move additions and other elementwise work into the epilogue that makes their operand";
  let description = [{
    An elementwise op of a linear's result is computed on the accumulators: the residual connection, a bias, an
    activation and whatever it is written in, a factor. It saves the task and two trips of the rows through memory. Of two linears the later one takes
    the op. Ops that the other operand needs are moved up; if they depend on the linear itself, nothing happens.

    **Requires** `mk-fuse-slice` for linears that were concatenated.
    **Ensures** elementwise ops of a linear's result are in its epilogue where the other operand allows it.

    ```mlir
    %y = mk.linear %h, [%w] : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32>
    %s = mk.add %x, %y : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    // becomes
    %s = mk.linear %h, [%w] : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32> epilogue {
    ^bb0(%acc: tensor<?x64xf32>):
      %0 = mk.add %x, %acc : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %0 : tensor<?x64xf32>
    }
    ```
  }];
}

def FuseGeneric : Mk_FusePass<"mk-fuse-generic"> {
  let summary = "compute the numbers that one loop nest makes for another inside that";
  let description = [{
    A `mk.generic` without reductions whose result another one alone reads, each column at most once, is computed there, at the
    column that the reader's map says: a function of a number, a view, a broadcast need no task and no memory of their own.

    **Requires** nothing.
    **Ensures** such an op is gone where the reader's column numbers can still be proved and its operands are few enough.

    ```mlir
    %s = mk.generic %x sizes [64] maps [affine_map<(d0) -> (d0)>] : (tensor<?x64xf32>) -> tensor<?x64xf32> {
    ^bb0(%a: f32):
      %p = arith.mulf %a, %a : f32
      mk.yield %p : f32
    }
    %y = mk.generic %s sizes [4, 16] reduce 1 by "sum" maps [affine_map<(d0, d1) -> (d1 * 4 + d0)>] : (tensor<?x64xf32>) -> tensor<?x4xf32> {
    ^bb0(%a: f32):
      mk.yield %a : f32
    }
    // becomes
    %y = mk.generic %x sizes [4, 16] reduce 1 by "sum" maps [affine_map<(d0, d1) -> (d1 * 4 + d0)>] : (tensor<?x64xf32>) -> tensor<?x4xf32> {
    ^bb0(%a: f32):
      %p = arith.mulf %a, %a : f32
      mk.yield %p : f32
    }
    ```
  }];
}

def FuseExperts : Mk_FusePass<"mk-fuse-experts"> {
  let summary = "move additions and other elementwise work behind the sum of the experts";
  let description = [{
    An elementwise op that alone reads the result of an `mk.moe_combine` is computed by the task that has the sum: the
    residual connection, or what experts that every row has add to it. Ops that the other operand needs are moved up; if
    they depend on the sum itself, nothing happens.

    **Requires** nothing.
    **Ensures** elementwise ops of a sum of experts are in its epilogue where the other operand allows it.

    ```mlir
    %y = mk.moe_combine %h, %route, %w {chosen = 2 : i64}
        : (tensor<?x192xf32>, tensor<?x8xf32>, tensor<8x64x96xf32>) -> tensor<?x64xf32>
    %s = mk.add %x, %y : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    // becomes
    %s = mk.moe_combine %h, %route, %w {chosen = 2 : i64}
        : (tensor<?x192xf32>, tensor<?x8xf32>, tensor<8x64x96xf32>) -> tensor<?x64xf32> epilogue {
    ^bb0(%sum: tensor<?x64xf32>):
      %0 = mk.add %x, %sum : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %0 : tensor<?x64xf32>
    }
    ```
  }];
}

def FuseRope : Mk_FusePass<"mk-fuse-rope"> {
  let summary = "rotate and store keys and values in the epilogue of their projection";
  let description = [{
    An `mk.rope` of a linear's result moves into its epilogue, and an `mk.kv_append` whose keys and values are results of
    one linear follows: query, key and value projection, rotation and store become one family. The tile map will put the
    two halves of a head into one tile, so columns that are paired otherwise already (gated) are left alone. Keys
    and values of different linears keep their own store.

    **Requires** `mk-fuse-slice`, and `mk-fuse-residual` before it if the projections have a bias.
    **Ensures** where it fires, the linear returns the rotated query and the grown cache.

    ```mlir
    %k, %v = mk.linear %x, [%wk, %wv] : (tensor<?x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>) -> (tensor<?x32xf32>, tensor<?x32xf32>) epilogue {
    ^bb0(%acc: tensor<?x64xf32>):
      %0 = mk.slice %acc {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
      %1 = mk.slice %acc {offset = 32 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
      mk.yield %0, %1 : tensor<?x32xf32>, tensor<?x32xf32>
    }
    %r = mk.rope %k, %positions, %f {head_dim = 16 : i64} : (tensor<?x32xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x32xf32>
    %c1 = mk.kv_append %c, %r, %v, %positions, %slots
      : (!mk.cache<2x16xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xf32>
    // becomes
    %c1 = mk.linear %x, [%wk, %wv] : (tensor<?x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>) -> !mk.cache<2x16xf32> epilogue {
    ^bb0(%acc: tensor<?x64xf32>):
      %0 = mk.slice %acc {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
      %1 = mk.slice %acc {offset = 32 : i64} : (tensor<?x64xf32>) -> tensor<?x32xf32>
      %2 = mk.rope %0, %positions, %f {head_dim = 16 : i64} : (tensor<?x32xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x32xf32>
      %3 = mk.kv_append %c, %2, %1, %positions, %slots
        : (!mk.cache<2x16xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xf32>
      mk.yield %3 : !mk.cache<2x16xf32>
    }
    ```
  }];
}

def FuseAttend : Mk_FusePass<"mk-fuse-attend"> {
  let summary = "norms and rotations of heads in the prologue of attention";
  let description = [{
    Attention that reads normalised heads waits for one more operator than attention without. The work is small, and
    who attends with a head has all of it: so the norm and the rotation of queries, and of this step's keys,
    become the prologue of `mk.attend`, which then reads the projection's rows and the cache as the step found it. The
    keys that are stored for later steps are made once more, behind it, where nobody waits for them.

    Fires where a norm of heads is among these ops; a rotation alone costs nothing in the projection's epilogue. Heads
    have a multiple of 64 columns, all of which are rotated, or none. Not in a function that decides by data: the store would run
    whatever side is taken.

    **Requires** `mk-split-attention`, `mk-fuse-slice`; `mk-fuse-heads` after it. **Ensures** a cache of which the step appends
    after it has been read. For a GPU.

    ```mlir
    %n = mk.head_norm %k, %h {head_dim = 64 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    %d = mk.kv_append %c, %n, %v, %positions, %slots : (!mk.cache<1x64xbf16>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<1x64xbf16>
    %p = mk.attend %q, %d, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<1x64xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x132xf32>
    // becomes
    %p = mk.attend %q, %c, %positions, %slots, %k, %v {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<1x64xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x132xf32> prologue {
    ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>, %e: tensor<?x64xf32>):
      %m = mk.head_norm %b, %h {head_dim = 64 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
      %o = mk.slice %e {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
      mk.yield %a, %m, %o : tensor<?x64xf32>, tensor<?x64xbf16>, tensor<?x64xbf16>
    }
    %n = mk.head_norm %k, %h {head_dim = 64 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    %d = mk.kv_append %c, %n, %v, %positions, %slots : (!mk.cache<1x64xbf16>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<1x64xbf16>
    ```
  }];
}

def FuseHeads : Mk_FusePass<"mk-fuse-heads"> {
  let summary = "norms of heads, rotation and store of keys and values as one task";
  let description = [{
    An `mk.head_norm` needs the sum over its head before it has a column, so it cannot stand on the accumulators of
    a tile, nor can the rotation after it, nor the store of rotated keys. Instead these ops, for the queries, keys and
    values of one projection, become one `mk.rowwise`: one more task after the projection, not five in a row.

    Ops join that work on heads of the same size and read results of one op, or of each other. A norm with nobody to
    join stays as it is, as do ops without a norm among them.

    **Requires** `mk-fuse-slice`, `mk-fuse-rope`. **Ensures** results are bitwise what they were.

    ```mlir
    %n = mk.head_norm %k, %h {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x32xf32>, tensor<16xf32>) -> tensor<?x32xf32>
    %r = mk.rope %n, %positions, %f {head_dim = 16 : i64} : (tensor<?x32xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x32xf32>
    // becomes
    %r = mk.rowwise %k : (tensor<?x32xf32>) -> tensor<?x32xf32> {
    ^bb0(%row: tensor<?x32xf32>):
      %n = mk.head_norm %row, %h {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x32xf32>, tensor<16xf32>) -> tensor<?x32xf32>
      %0 = mk.rope %n, %positions, %f {head_dim = 16 : i64} : (tensor<?x32xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x32xf32>
      mk.yield %0 : tensor<?x32xf32>
    }
    ```
  }];
}

def FuseGlu : Mk_FusePass<"mk-fuse-glu"> {
  let summary = "gate in the epilogue of the gate and up projection";
  let description = [{
    An `mk.glu` of two neighbouring, equally wide results of one linear moves into its epilogue, as does a product or
    sum of two such results (a gate with another activation). The tile map will put column i of both into one tile; the
    linear then writes half the columns. Columns that are paired otherwise already (rotated) are left alone. If gate
    and up come from different linears, the later one takes the op and reads the other's result. Nor does the pass fire if
    somebody needs one of the two alone.

    **Requires** `mk-fuse-slice`, and `mk-fuse-residual` before it if activation and product are separate ops.
    **Ensures** where it fires, the linear returns the gated columns.

    ```mlir
    %g, %u = mk.linear %x, [%wg, %wu] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<96x64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>) epilogue {
    ^bb0(%acc: tensor<?x192xf32>):
      %0 = mk.slice %acc {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      %1 = mk.slice %acc {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      mk.yield %0, %1 : tensor<?x96xf32>, tensor<?x96xf32>
    }
    %h = mk.glu %g, %u : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
    // becomes
    %h = mk.linear %x, [%wg, %wu] : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> epilogue {
    ^bb0(%acc: tensor<?x192xf32>):
      %0 = mk.slice %acc {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      %1 = mk.slice %acc {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      %2 = mk.glu %0, %1 : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
      mk.yield %2 : tensor<?x96xf32>
    }
    ```
  }];
}

def FuseArgmax : Mk_FusePass<"mk-fuse-argmax"> {
  let summary = "find each tile's largest logit in the epilogue of the head";
  let description = [{
    An `mk.argmax_partial` of a linear's result moves into its epilogue, so greedy choice costs no pass over the logits.
    The logits stay a result as long as something else (sampling, the caller) reads them.

    **Requires** `mk-split-argmax`.
    **Ensures** where it fires, the linear also returns the partial results.

    ```mlir
    %l = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<160x64xf32>) -> tensor<?x160xf32>
    %p = mk.argmax_partial %l {block = 32 : i64} : (tensor<?x160xf32>) -> tensor<?x10xf32>
    return %l, %p : tensor<?x160xf32>, tensor<?x10xf32>
    // becomes
    %l, %p = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<160x64xf32>) -> (tensor<?x160xf32>, tensor<?x10xf32>) epilogue {
    ^bb0(%acc: tensor<?x160xf32>):
      %0 = mk.argmax_partial %acc {block = 32 : i64} : (tensor<?x160xf32>) -> tensor<?x10xf32>
      mk.yield %acc, %0 : tensor<?x160xf32>, tensor<?x10xf32>
    }
    return %l, %p : tensor<?x160xf32>, tensor<?x10xf32>
    ```
  }];
}

def RoundNormRows : Mk_FusePass<"mk-round-norm-rows"> {
  let summary = "give a norm before a product rows of bfloat16 of its own";
  let description = [{
    Every worker reads all of the row that a norm before its product scales, and a product of bfloat16 rounds it in any
    case: what the norm reads is rounded by whoever makes it, so that the workers read half as much. Other readers, as the
    sums of a residual stream, keep the float32 rows. The mean of squares is that of the rounded row.

    **Requires** `mk-fuse-norm`; does nothing for a norm that stands alone. For a GPU: there the row goes from memory
    to the tensor cores, and its factor is applied to the sums.

    ```mlir
    %y = mk.linear %h, [%w] : (tensor<?x96xf32>, tensor<64x96xbf16>) -> tensor<?x64xf32>
    %l = mk.linear %y, [%v] : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32> prologue {
    ^bb0(%row: tensor<?x64xf32>):
      %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
      mk.yield %n : tensor<?x64xf32>
    }
    %z = mk.silu %y : (tensor<?x64xf32>) -> tensor<?x64xf32>
    // becomes
    %y, %yr = mk.linear %h, [%w] : (tensor<?x96xf32>, tensor<64x96xbf16>) -> (tensor<?x64xf32>, tensor<?x64xbf16>) epilogue {
    ^bb0(%acc: tensor<?x64xf32>):
      %r = mk.slice %acc {offset = 0 : i64} : (tensor<?x64xf32>) -> tensor<?x64xbf16>
      mk.yield %acc, %r : tensor<?x64xf32>, tensor<?x64xbf16>
    }
    %l = mk.linear %yr, [%v] : (tensor<?x64xbf16>, tensor<32x64xbf16>) -> tensor<?x32xf32> prologue {
    ^bb0(%row: tensor<?x64xbf16>):
      %n = mk.rms_norm %row, %g {eps = 1.0e-5 : f64} : (tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xf32>
      mk.yield %n : tensor<?x64xf32>
    }
    %z = mk.silu %y : (tensor<?x64xf32>) -> tensor<?x64xf32>
    ```
  }];
}

def ForwardKv : Mk_FusePass<"mk-forward-kv"> {
  let summary = "hand this step's keys and values to attention beside the cache";
  let description = [{
    Attention of a step reads mostly what earlier steps stored. What this step stores reaches it as rows, so
    that it does not depend on the stores: of the cache it only reads what was there when the step began. The rows have
    the cache's type, hence the same bits.

    **Requires** `mk-split-attention`, `mk-fuse-rope`, `mk-fuse-heads`. **Ensures** `new_rows` on every `mk.attend` whose cache this
    step appends to. For a GPU.

    ```mlir
    %q, %c1 = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<128x64xbf16>) -> (tensor<?x64xf32>, !mk.cache<2x16xbf16>) epilogue {
    ^bb0(%acc: tensor<?x128xf32>):
      %a = mk.slice %acc {offset = 0 : i64} : (tensor<?x128xf32>) -> tensor<?x64xf32>
      %k = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
      %v = mk.slice %acc {offset = 96 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
      %d = mk.kv_append %c, %k, %v, %positions, %slots : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
      mk.yield %a, %d : tensor<?x64xf32>, !mk.cache<2x16xbf16>
    }
    %p = mk.attend %q, %c1, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    // becomes
    %q, %c1, %kr, %vr = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<128x64xbf16>) -> (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>) epilogue {
    ^bb0(%acc: tensor<?x128xf32>):
      %a = mk.slice %acc {offset = 0 : i64} : (tensor<?x128xf32>) -> tensor<?x64xf32>
      %k = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
      %v = mk.slice %acc {offset = 96 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
      %d = mk.kv_append %c, %k, %v, %positions, %slots : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
      %k1 = mk.slice %acc {offset = 64 : i64} : (tensor<?x128xf32>) -> tensor<?x32xbf16>
      %v1 = mk.slice %acc {offset = 96 : i64} : (tensor<?x128xf32>) -> tensor<?x32xbf16>
      mk.yield %a, %d, %k1, %v1 : tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>
    }
    %p = mk.attend %q, %c1, %positions, %slots, %kr, %vr {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x32xbf16>, tensor<?x32xbf16>) -> tensor<?x144xf32>
    ```
  }];
}

def NarrowActivations : Mk_FusePass<"mk-narrow-activations"> {
  let summary = "produce in bfloat16 what every reader rounds to it";
  let description = [{
    A float32 value whose every use is the input of a linear with bfloat16 weights and no prologue, or the query of
    attention over a cache of bfloat16, is rounded by each of these anyway; now its producer rounds it once. The same
    bits are multiplied, and the rows are half as long in memory. A prologue reads its rows in float32, so its input keeps its
    type.

    **Ensures** results are bitwise what they were.

    ```mlir
    %h = mk.glu %g, %u : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
    %y = mk.linear %h, [%w] : (tensor<?x96xf32>, tensor<64x96xbf16>) -> tensor<?x64xf32>
    // becomes
    %h = mk.glu %g, %u : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xbf16>
    %y = mk.linear %h, [%w] : (tensor<?x96xbf16>, tensor<64x96xbf16>) -> tensor<?x64xf32>
    ```
  }];
}

#endif // MK_PASSES_FUSE_TD
