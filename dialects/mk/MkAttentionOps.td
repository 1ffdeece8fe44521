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

    `new_rows` are none, or the keys and the values that `mk.kv_append` stored for the tokens of this step. Positions
    that a token of the step has in its slot are then read from these rows, with equal results: so attention
    need not wait for the stores, and may read older positions before it waits for anything.

    ```mlir
    %p = mk.attend %q, %c1, %positions, %slots {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x144xf32>
    %r = mk.attend %q, %c1, %positions, %slots, %k, %v {scale = 0.25 : f64, split = 32 : i64, splits = 2 : i64}
      : (tensor<?x64xf32>, !mk.cache<2x16xbf16>, tensor<?xi32>, tensor<?xi32>, tensor<?x32xbf16>, tensor<?x32xbf16>) -> tensor<?x144xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$query, Mk_CacheType:$cache, Mk_Indices:$positions, Mk_Indices:$slots,
                       Variadic<Mk_Activation>:$new_rows, F64Attr:$scale, I64Attr:$split, I64Attr:$splits);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = [{
    $query `,` $cache `,` $positions `,` $slots (`,` $new_rows^)? attr-dict `:` functional-type(operands, results)
  }];
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

#endif // MK_ATTENTION_OPS_TD
