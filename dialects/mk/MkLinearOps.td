// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_LINEAR_OPS_TD
#define MK_LINEAR_OPS_TD

// Weights, and what reads their rows. Included by MkOps.td.

def Mk_WeightOp : Mk_Op<"weight", [Pure]> {
  let summary = "name a tensor of the checkpoint";
  let description = [{
    The tensor called `source` in the model's state dict, stored with the element type of the result
    (float32 or bfloat16; a wider checkpoint is rounded to nearest even at load). Two `mk.weight` of one
    name are the same tensor: that is how tied weights stay one. With a `view`, its rows in another order, its
    transpose, or a number more than it: see `#mk.view`. Lowers to a `mk_task.weight`.

    ```mlir
    %w = mk.weight @model.norm.weight : tensor<576xf32>
    %t = mk.weight @h.0.mlp.c_fc.weight view<shape = [64, 256], transposed = true> : tensor<256x64xbf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$source, OptionalAttr<Mk_ViewAttr>:$view);
  let results = (outs Mk_Weight:$result);
  let builders = [OpBuilder<(ins "::mlir::Type":$type, "::mlir::FlatSymbolRefAttr":$source), [{
    build($_builder, $_state, type, source, ViewAttr());
  }]>];
  let assemblyFormat = "$source (`view` `` $view^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Mk_EmbeddingOp : Mk_Op<"embedding", [Pure]> {
  let summary = "look up one row of a table per token";
  let description = [{
    Row n of the result is row `indices[n] + offset` of `table`, converted to float32. The indices are the step's
    tokens or, for learned positions, its positions. Requires `0 <= indices[n] + offset < V`: for tokens the runtime
    checks it before a step, for positions `mk-form-tasks` does. Lowers to a `columns` kind.

    ```mlir
    %x = mk.embedding %table, %tokens : (tensor<160x64xbf16>, tensor<?xi32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Matrix:$table, Mk_Indices:$indices, DefaultValuedAttr<I64Attr, "0">:$offset);
  let results = (outs Mk_Activation:$result);
  let builders = [OpBuilder<(ins "::mlir::Type":$type, "::mlir::Value":$table, "::mlir::Value":$indices), [{
    build($_builder, $_state, type, table, indices, /*offset=*/0);
  }]>];
  let assemblyFormat = "$table `,` $indices attr-dict `:` functional-type(operands, results)";
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

#endif // MK_LINEAR_OPS_TD
