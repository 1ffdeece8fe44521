// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_GENERIC_OPS_TD
#define MK_GENERIC_OPS_TD

// Work of single rows that no other op names: a loop nest, column numbers and scalar arithmetic. Included by MkOps.td.

def Mk_GenericOp : Mk_Op<"generic", [Pure, AttrSizedOperandSegments, IsolatedFromAbove]> {
  let summary = "any arithmetic of one row: a loop nest, a column number for each input, a scalar region";
  let description = [{
    What a model computes of one token, written as a loop nest over static `sizes` (the token is not one of them), of which
    the last `reduce` are reductions and the others parallel (the form of `linalg.generic`). For each point of
    it, each input gives the element whose column number its map says: of its row, of a vector of weights, or (an input
    `tensor<?xi32>`, column 0) the token's own integer. The region makes one number of these. Column
    `d0 * sizes[1] * ... + ...` of the result, the parallel numbers in row-major order, is that number, or the sum,
    product, maximum or minimum of those of all reduction points, combined in ascending order from the left. A maximum or
    minimum of anything that is not a number is not a number.

    Maps are affine with `floordiv` and `mod`, so they cover transposition, broadcasting, slicing, repetition and every
    reshape. The region has ops of `arith` and `math` on f32, i32 and i1, and the two below. A boolean between two ops is a
    row of zeros and ones. What is not a number stays so, in every op of `math` too; sines and cosines are those of
    numbers up to 1e15, of larger ones there is none. `tables` are read at columns that the region computes, see `mk.element`.

    **Requires** that every column number lies within its input: the verifier proves it from the sizes.
    Lowers to a `columns` kind, whose units may read any column of their row.

    ```mlir
    %y = mk.generic %x, %v sizes [4, 16] reduce 1 by "sum" maps [affine_map<(d0, d1) -> (d0 * 16 + d1)>, affine_map<(d0, d1) -> (d1)>]
      : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x4xf32> {
    ^bb0(%a: f32, %b: f32):
      %p = arith.mulf %a, %b : f32
      mk.yield %p : f32
    }
    ```
  }];
  let arguments = (ins Variadic<Mk_GenericInput>:$inputs, Variadic<Mk_ActivationOrVector>:$tables,
                       DenseI64ArrayAttr:$sizes, OptionalAttr<I64Attr>:$reductions, OptionalAttr<StrAttr>:$combiner,
                       AffineMapArrayAttr:$maps);
  let regions = (region SizedRegion<1>:$body);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = [{
    $inputs (`tables` $tables^)? `sizes` $sizes (`reduce` $reductions^ `by` $combiner)? `maps` $maps attr-dict
    `:` functional-type(operands, results) $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// How many of the sizes are those of parallel numbers.
    int64_t getNumParallel() { return getSizes().size() - getReductions().value_or(0); }
    ::llvm::ArrayRef<int64_t> getParallelSizes() { return getSizes().take_front(getNumParallel()); }
    ::llvm::ArrayRef<int64_t> getReductionSizes() { return getSizes().drop_front(getNumParallel()); }
    ::mlir::AffineMap getMap(unsigned input) {
      return ::llvm::cast<::mlir::AffineMapAttr>(getMaps()[input]).getValue();
    }
  }];
}

def Mk_IterationOp : Mk_Op<"iteration", [Pure, HasParent<"GenericOp">]> {
  let summary = "a number of the point of the loop nest that the region is at";
  let description = [{
    Number `dim` of the `sizes` of the `mk.generic` around it.

    ```mlir
    %y = mk.generic %x sizes [64] maps [affine_map<(d0) -> (d0)>] : (tensor<?x64xf32>) -> tensor<?x64xf32> {
    ^bb0(%a: f32):
      %i = mk.iteration 0
      %n = arith.sitofp %i : i32 to f32
      %p = arith.mulf %a, %n : f32
      mk.yield %p : f32
    }
    ```
  }];
  let arguments = (ins I64Attr:$dim);
  let results = (outs I32:$result);
  let assemblyFormat = "$dim attr-dict";
  let hasVerifier = 1;
}

def Mk_ElementOp : Mk_Op<"element", [Pure, HasParent<"GenericOp">]> {
  let summary = "the element of a table at a computed column";
  let description = [{
    Column `index` of the row, or of the vector of weights, that is a table of the `mk.generic` around it. An index below 0
    takes the first column, one beyond the end the last.

    ```mlir
    %y = mk.generic %i tables %x sizes [8] maps [affine_map<(d0) -> (d0)>]
      : (tensor<?x8xf32>, tensor<?x64xf32>) -> tensor<?x8xf32> {
    ^bb0(%a: f32, %t: tensor<?x64xf32>):
      %n = arith.fptosi %a : f32 to i32
      %e = mk.element %t, %n : tensor<?x64xf32>
      mk.yield %e : f32
    }
    ```
  }];
  let arguments = (ins Mk_ActivationOrVector:$table, I32:$index);
  let results = (outs F32:$result);
  let assemblyFormat = "$table `,` $index attr-dict `:` type($table)";
}

#endif // MK_GENERIC_OPS_TD
