// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_OPS_TD
#define MK_OPS_TD

include "MkDialect.td"
include "MkTypes.td"
include "MkAttrs.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Mk_Op<string mnemonic, list<Trait> traits = []> : Op<Mk_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

def Mk_WeightOp : Mk_Op<"weight", [Pure]> {
  let summary = "name a tensor of the checkpoint";
  let description = [{
    The tensor called `source` in the model's state dict, stored with the element type of the result
    (float32 or bfloat16; a wider checkpoint is rounded to nearest even at load). Two `mk.weight` of one
    name are the same tensor: that is how tied weights stay one. Lowers to a `mk_task.weight`.

    ```mlir
    %w = mk.weight @model.norm.weight : tensor<576xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$source);
  let results = (outs Mk_Weight:$result);
  let assemblyFormat = "$source attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Rows in, rows out
//===----------------------------------------------------------------------===//

def Mk_EmbeddingOp : Mk_Op<"embedding", [Pure]> {
  let summary = "look up one row of a table per token";
  let description = [{
    Row n of the result is row `tokens[n]` of `table`, converted to float32. Requires
    `0 <= tokens[n] < V`; the runtime checks it before a step. Lowers to a `columns` kind.

    ```mlir
    %x = mk.embedding %table, %tokens : (tensor<160x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Matrix:$table, Mk_Indices:$tokens);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$table `,` $tokens attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_LinearOp : Mk_Op<"linear", [RecursiveMemoryEffects]> {
  let summary = "multiply rows by weight matrices, with fused work before and after";
  let description = [{
    `acc[n, c] = sum_k round(row[n, k]) * W[c, k]` in float32, k ascending, where `W` is the rows of all
    `weights` one below the other and `round` converts to their element type. `row` is what the prologue
    yields for `input` (or `input` itself without one); the results are what the epilogue yields for `acc`
    (or `acc` itself). Either region has one block with one argument, may use values from above, and ends
    in `mk.yield`. The prologue yields one tensor of K columns.

    Lowers to a `tiles` kind: weights packed in tiles of `2 * lanes` rows, prologue run once per worker,
    epilogue run on the accumulators of each tile.

    ```mlir
    %y = mk.linear %x, [%w] : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
    %z = mk.linear %x, [%v] : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> prologue {
    ^bb0(%row: tensor<?x64xf32>):
      %n = mk.rms_norm %row, %gain {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
      mk.yield %n : tensor<?x64xf32>
    } epilogue {
    ^bb0(%acc: tensor<?x64xf32>):
      %s = mk.add %acc, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %s : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Variadic<Mk_Matrix>:$weights);
  let regions = (region MaxSizedRegion<1>:$prologue, MaxSizedRegion<1>:$epilogue);
  let results = (outs Variadic<AnyType>:$results);
  let assemblyFormat = [{
    $input `,` `[` $weights `]` attr-dict `:` functional-type(operands, results)
    (`prologue` $prologue^)? (`epilogue` $epilogue^)?
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Columns of the rows that meet the weights (K) and of the accumulators (all weights' rows).
    int64_t getInnerSize();
    int64_t getOuterSize();
    /// The element type of the weights, to which input rows are rounded.
    ::mlir::Type getWeightType();
    /// The blocks of the regions, created with a plain `mk.yield` of their argument when absent.
    ::mlir::Block &getOrCreatePrologue(::mlir::OpBuilder &builder);
    ::mlir::Block &getOrCreateEpilogue(::mlir::OpBuilder &builder);
  }];
}

def Mk_YieldOp : Mk_Op<"yield", [Pure, Terminator]> {
  let summary = "end a region with its values";
  let description = [{
    Terminates a prologue, an epilogue or the body of a `mk_task.kind`.

    ```mlir
    mk.yield %s : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Mk_RmsNormOp : Mk_Op<"rms_norm", [Pure]> {
  let summary = "scale each row to unit root mean square, times a gain";
  let description = [{
    `y[n, d] = x[n, d] / sqrt(mean_d(x[n, d]^2) + eps) * gain[d]` (Zhang and Sennrich, arXiv:1910.07467).
    Fuses into a consumer's prologue; alone it lowers to a `columns` kind.

    ```mlir
    %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Mk_Vector:$gain, F64Attr:$eps);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input `,` $gain attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_RopeOp : Mk_Op<"rope", [Pure]> {
  let summary = "rotate the halves of each head by the token's position";
  let description = [{
    The columns are heads of `head_dim`; column i of the first half and i of the second half of a head are
    rotated by the angle `positions[n] * frequencies[i]`, cosine and sine multiplied by `scale`:
    `y[i] = x[i] cos - x[i + h] sin`, `y[i + h] = x[i + h] cos + x[i] sin`, `h = head_dim / 2`
    (Su et al., arXiv:2104.09864, in the half-split order of GPT-NeoX). Partners must land in one weight
    tile to fuse into an epilogue; the tile map permutes rows for that.

    ```mlir
    %r = mk.rope %q, %positions, %f {head_dim = 16 : i64}
      : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Mk_Indices:$positions, Mk_Vector:$frequencies,
                       I64Attr:$head_dim, DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input `,` $positions `,` $frequencies attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_SelectRowsOp : Mk_Op<"select_rows", [Pure]> {
  let summary = "keep the rows whose logits were asked for";
  let description = [{
    Row r of the result is row `rows[r]` of the input: it changes from the token domain to the row domain.

    ```mlir
    %h = mk.select_rows %x, %rows : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Mk_Indices:$rows);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input `,` $rows attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_SliceOp : Mk_Op<"slice", [Pure]> {
  let summary = "take neighbouring columns";
  let description = [{
    Columns `[offset, offset + D)` of the input, D the column count of the result. Folds into its
    consumer's addressing: it never becomes a task when its input is an accumulator.

    ```mlir
    %k = mk.slice %qkv {offset = 64 : i64} : (tensor<?x128xf32>) -> tensor<?x32xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, I64Attr:$offset);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

class Mk_BinaryOp<string mnemonic, string symbol> : Mk_Op<mnemonic, [Pure, Commutative]> {
  let summary = "elementwise `a " # symbol # " b`";
  let description = [{
    Either both operands are rows of equal width, or the second is a vector that applies to every row.
    Fuses into prologues and epilogues; alone it lowers to a `columns` kind.

    ```mlir
    %y = mk.}] # mnemonic # [{ %a, %b : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$lhs, Mk_ActivationOrVector:$rhs);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}
def Mk_AddOp : Mk_BinaryOp<"add", "+">;
def Mk_MulOp : Mk_BinaryOp<"mul", "*">;

def Mk_SiluOp : Mk_Op<"silu", [Pure]> {
  let summary = "elementwise `x / (1 + exp(-x))`";
  let description = [{
    The sigmoid-weighted linear unit (Elfwing et al., arXiv:1702.03118).

    ```mlir
    %y = mk.silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_GluOp : Mk_Op<"glu", [Pure]> {
  let summary = "gated linear unit: `activation(gate) * up`";
  let description = [{
    `y = silu(gate) * up` (Shazeer, arXiv:2002.05202). As an epilogue of the concatenated gate and up
    projections it pairs column i of one with column i of the other, so the tile map puts both rows in
    one tile.

    ```mlir
    %y = mk.glu %gate, %up : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$gate, Mk_Activation:$up);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$gate `,` $up attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Attention and its cache
//===----------------------------------------------------------------------===//

def Mk_KvCacheOp : Mk_Op<"kv_cache", [Pure]> {
  let summary = "the cache of one layer as the step finds it";
  let description = [{
    ```mlir
    %c = mk.kv_cache {layer = 0 : i64} : !mk.cache<2x16xbf16>
    ```
  }];
  let arguments = (ins I64Attr:$layer);
  let results = (outs Mk_CacheType:$result);
  let assemblyFormat = "attr-dict `:` qualified(type($result))";
  let hasVerifier = 1;
}

def Mk_KvAppendOp : Mk_Op<"kv_append", [Pure]> {
  let summary = "store the keys and values of this step's tokens";
  let description = [{
    Row n of `keys` and `values` goes to slot `slots[n]`, position `positions[n]`, rounded to the element
    type of the cache. Requires distinct (slot, position) pairs; the runtime checks it. As an epilogue of
    the concatenated q/k/v projection it stores straight from the accumulators.

    ```mlir
    %c1 = mk.kv_append %c, %k, %v, %positions, %slots
      : (!mk.cache<2x16xbf16>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32>) -> !mk.cache<2x16xbf16>
    ```
  }];
  let arguments = (ins Mk_CacheType:$cache, Mk_Activation:$keys, Mk_Activation:$values,
                       Mk_Indices:$positions, Mk_Indices:$slots);
  let results = (outs Mk_CacheType:$result);
  let assemblyFormat = [{
    $cache `,` $keys `,` $values `,` $positions `,` $slots attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

class Mk_AttentionBase<string mnemonic> : Mk_Op<mnemonic, [Pure]> {
  let assemblyFormat = "$query `,` $cache `,` $positions `,` $slots attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_AttentionOp : Mk_AttentionBase<"attention"> {
  let summary = "causal softmax attention of each token over its slot's cache";
  let description = [{
    For query head h of token n, with `kv = h / (H / KH)` and p ranging over positions
    `0 .. positions[n]` of slot `slots[n]`:
    `y[n, h] = sum_p softmax_p(scale * q[n, h] . K[p, kv]) V[p, kv]` (Vaswani et al., arXiv:1706.03762;
    grouped heads: Ainslie et al., arXiv:2305.13245). The query is rounded to the cache's element type
    before the dot product. Always split by `mk-split-attention` before tasks are formed.

    ```mlir
    %y = mk.attention %q, %c1, %positions, %slots {scale = 0.25 : f64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$query, Mk_CacheType:$cache, Mk_Indices:$positions, Mk_Indices:$slots,
                       F64Attr:$scale);
  let results = (outs Mk_Activation:$result);
}

def Mk_AttendOp : Mk_AttentionBase<"attend"> {
  let summary = "attention over each range of `split` positions on its own";
  let description = [{
    The positions are cut at multiples of `split`, whatever their number and whatever else is in the step:
    that makes the result of a token independent of the batch. For every head and range the row of the
    result holds head_dim sums `sum_p exp(s_p - m) V[p]`, then the largest score `m`, then
    `l = sum_p exp(s_p - m)`; ranges beyond the token's position hold unspecified values. Column
    `(h * splits + r) * (head_dim + 2)` begins range r of head h. Lowers to an `attend` kind.

    ```mlir
    %p = mk.attend %q, %c1, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$query, Mk_CacheType:$cache, Mk_Indices:$positions, Mk_Indices:$slots,
                       F64Attr:$scale, I64Attr:$split, I64Attr:$splits);
  let results = (outs Mk_Activation:$result);
}

def Mk_CombineOp : Mk_Op<"combine", [Pure]> {
  let summary = "join the ranges of `mk.attend`";
  let description = [{
    With `m = max_r m_r` over the ranges r in `0 .. positions[n] / split`, in ascending order:
    `y[n, h] = sum_r exp(m_r - m) o_r / sum_r exp(m_r - m) l_r`. Fuses into the prologue of the output
    projection; alone it lowers to a `columns` kind.

    ```mlir
    %y = mk.combine %p, %positions {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$partials, Mk_Indices:$positions, I64Attr:$head_dim, I64Attr:$split,
                       I64Attr:$splits);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$partials `,` $positions attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// The next token
//===----------------------------------------------------------------------===//

def Mk_ArgmaxOp : Mk_Op<"argmax", [Pure]> {
  let summary = "the column of the largest value of each row, the lowest on a tie";
  let description = [{
    Split by `mk-split-argmax` into `argmax_partial` and `argmax_reduce` before tasks are formed.

    ```mlir
    %t = mk.argmax %logits : (tensor<?x160xf32>) -> tensor<?xi32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input);
  let results = (outs Mk_Indices:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
}

def Mk_ArgmaxPartialOp : Mk_Op<"argmax_partial", [Pure]> {
  let summary = "largest value and its column within each block of columns";
  let description = [{
    Column 2b of the result is the largest of columns `[b * block, (b + 1) * block)`, column 2b + 1 the
    bits of its column number (int32 kept in a float32 word). Exact, so any cut into blocks gives the same
    token. Fuses into the epilogue of the head, where `block` is the tile height.

    ```mlir
    %p = mk.argmax_partial %logits {block = 32 : i64} : (tensor<?x160xf32>) -> tensor<?x10xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, I64Attr:$block);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_ArgmaxReduceOp : Mk_Op<"argmax_reduce", [Pure]> {
  let summary = "join the blocks of `mk.argmax_partial`";
  let description = [{
    Lowers to a `serial` kind.

    ```mlir
    %t = mk.argmax_reduce %p : (tensor<?x10xf32>) -> tensor<?xi32>
    ```
  }];
  let arguments = (ins Mk_Activation:$partials);
  let results = (outs Mk_Indices:$result);
  let assemblyFormat = "$partials attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_SampleOp : Mk_Op<"sample", [Pure]> {
  let summary = "draw each row's next token by its request's rules";
  let description = [{
    A request with temperature 0 takes `greedy`. Otherwise the logits are divided by the temperature, kept
    if among the `top_k` largest (0: all), then if within the smallest set whose probability reaches `top_p`,
    then if their probability is at least `min_p` times the largest; ties at a border are all kept. Of what
    is kept the token with the largest `logit + g` is taken, `g = -log(-log(u))` (the Gumbel-max trick) and
    u a hash of (seed, position, column): the same request draws the same tokens on every run, worker count
    and batch. Lowers to a `serial` kind.

    ```mlir
    %next = mk.sample %logits, %greedy : (tensor<?x160xf32>, tensor<?xi32>) -> tensor<?xi32>
    ```
  }];
  let arguments = (ins Mk_Activation:$logits, Mk_Indices:$greedy);
  let results = (outs Mk_Indices:$result);
  let assemblyFormat = "$logits `,` $greedy attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_AdvanceOp : Mk_Op<"advance"> {
  let summary = "end the step: publish the tokens, set up the next step or stop";
  let description = [{
    Appends each row's token to the mailbox, drops requests that met a stop token, their token limit or the
    cancel flag, and writes the request of the next step (one token per remaining request). The only op
    with an effect beyond its results; it comes last, and everything else in a step happens before it.
    Lowers to a `serial` kind.

    ```mlir
    mk.advance %next : tensor<?xi32>
    ```
  }];
  let arguments = (ins Mk_Indices:$next);
  let assemblyFormat = "$next attr-dict `:` type($next)";
}

#endif // MK_OPS_TD
