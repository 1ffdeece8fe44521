// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_ATTENTION_OPS_TD
#define MK_ATTENTION_OPS_TD

// Attention and its cache. Included by MkOps.td.

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

def Mk_KvAppendOp : Mk_Op<"kv_append", [MemoryEffects<[MemWrite]>]> {
  let summary = "store the keys and values of this step's tokens";
  let description = [{
    Row n of `keys` and `values` goes to slot `slots[n]`, position `positions[n]`, rounded to the element
    type of the cache. Requires distinct (slot, position) pairs; the runtime checks it. As an epilogue of
    the concatenated q/k/v projection it stores straight from the accumulators. Later steps find what was stored, so an append
    that nobody in the step reads is not dead.

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

def Mk_AttentionOp : Mk_Op<"attention", [Pure]> {
  let summary = "causal softmax attention of each token over its slot's cache";
  let description = [{
    For query head h of token n, with `kv = h / (H / KH)` and p ranging over positions
    `0 .. positions[n]` of slot `slots[n]`:
    `y[n, h] = sum_p softmax_p(scale * q[n, h] . K[p, kv]) V[p, kv]` (Vaswani et al., arXiv:1706.03762;
    grouped heads: Ainslie et al., arXiv:2305.13245). The query is rounded to the cache's element type
    before the dot product. Always split by `mk-split-attention` before tasks are formed.

    * With `window`, p begins at `positions[n] - window + 1` if that is above 0: a token sees itself and the
      `window - 1` positions before (Beltagy et al., arXiv:2004.05150).
    * With `softcap`, a score s becomes `softcap * tanh(s / softcap)`, the scale included (Gemma 2, arXiv:2408.00118).
    * With `sinks`, the softmax of head h has one more score, `sinks[h]`, whose value is zero: it only adds to the
      denominator (Xiao et al., arXiv:2309.17453; Miller, "Attention is off by one", 2023).

    ```mlir
    %y = mk.attention %q, %c1, %positions, %slots {scale = 0.25 : f64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x64xf32>
    %z = mk.attention %q, %c1, %positions, %slots, %s {scale = 0.25 : f64, softcap = 50.0 : f64, window = 100 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$query, Mk_CacheType:$cache, Mk_Indices:$positions, Mk_Indices:$slots,
                       Optional<Mk_Vector>:$sinks, F64Attr:$scale, DefaultValuedAttr<I64Attr, "0">:$window,
                       DefaultValuedAttr<F64Attr, "0.0">:$softcap);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = [{
    $query `,` $cache `,` $positions `,` $slots (`,` $sinks^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Mk_AttendOp : Mk_Op<"attend", [Pure]> {
  let summary = "attention over each range of `split` positions on its own";
  let description = [{
    The positions are cut at multiples of `split`, whatever their number and whatever else is in the step:
    that makes the result of a token independent of the batch. For every head and range the row of the
    result holds head_dim sums `sum_p exp(s_p - m) V[p]`, then the largest score `m`, then
    `l = sum_p exp(s_p - m)`; ranges beyond the token's position hold unspecified values. Column
    `(h * splits + r) * (head_dim + 2)` begins range r of head h. Lowers to an `attend` kind.

    `window` and `softcap` are those of `mk.attention`. With a window, range 0 of a token is the first that it sees
    anything of, and `splits` is the most that a window has. No page before the window is read.

    `new_rows` are none, or the keys and the values that `mk.kv_append` stores for the tokens of this step. Positions
    that a token of the step has in its slot are then read from these rows, with equal results: so attention
    need not wait for the stores, may read older positions before it waits for anything, and may be given the
    cache as it was before the append.

    `prologue`, if there is one, makes the query, the keys and the values of these operands, row by row: an argument for
    each of them, and `mk.yield` of what attention works with. Its ops work on heads, each for itself.

    ```mlir
    %p = mk.attend %q, %c1, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    %r = mk.attend %q, %c1, %positions, %slots, %k, %v {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x32xbf16>, tensor<?x32xbf16>) -> tensor<?x144xf32>
    %s = mk.attend %q, %c, %positions, %slots, %kr, %vr {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x144xf32> prologue {
    ^bb0(%a: tensor<?x64xf32>, %b: tensor<?x32xf32>, %d: tensor<?x32xf32>):
      %m = mk.head_norm %b, %h {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x32xf32>, tensor<16xf32>) -> tensor<?x32xbf16>
      %o = mk.slice %d {offset = 0 : i64} : (tensor<?x32xf32>) -> tensor<?x32xbf16>
      mk.yield %a, %m, %o : tensor<?x64xf32>, tensor<?x32xbf16>, tensor<?x32xbf16>
    }
    ```
  }];
  let arguments = (ins Mk_Activation:$query, Mk_CacheType:$cache, Mk_Indices:$positions, Mk_Indices:$slots,
                       Variadic<Mk_Activation>:$new_rows, F64Attr:$scale, I64Attr:$split, I64Attr:$splits,
                       DefaultValuedAttr<I64Attr, "0">:$window, DefaultValuedAttr<F64Attr, "0.0">:$softcap);
  let regions = (region MaxSizedRegion<1>:$prologue);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = [{
    $query `,` $cache `,` $positions `,` $slots (`,` $new_rows^)? attr-dict `:` functional-type(operands, results)
    (`prologue` $prologue^)?
  }];
  let hasVerifier = 1;
}

def Mk_CombineOp : Mk_Op<"combine", [Pure]> {
  let summary = "join the ranges of `mk.attend`";
  let description = [{
    With `m = max_r m_r` over the token's ranges, `positions[n] / split` the last of them, in ascending order:
    `y[n, h] = sum_r exp(m_r - m) o_r / sum_r exp(m_r - m) l_r`. With `sinks`, m is at least `sinks[h]`, and
    `exp(sinks[h] - m)` is added to the denominator. `window` says which range is the first, as for `mk.attend`. Fuses
    into the prologue of the output projection; alone it lowers to a `columns` kind.

    ```mlir
    %y = mk.combine %p, %positions {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x144xf32>, tensor<?xi32>) -> tensor<?x64xf32>
    %z = mk.combine %p, %positions, %s {head_dim = 16 : i64, split = 32 : i64, splits = 2 : i64, window = 20 : i64}
      : (tensor<?x144xf32>, tensor<?xi32>, tensor<4xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$partials, Mk_Indices:$positions, Optional<Mk_Vector>:$sinks, I64Attr:$head_dim,
                       I64Attr:$split, I64Attr:$splits, DefaultValuedAttr<I64Attr, "0">:$window);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$partials `,` $positions (`,` $sinks^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif // MK_ATTENTION_OPS_TD
