// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_ROW_OPS_TD
#define MK_ROW_OPS_TD

// Rows in, rows out: what the prologue and the epilogue of a linear are made of. Included by MkOps.td.

def Mk_RmsNormOp : Mk_Op<"rms_norm", [Pure]> {
  let summary = "scale each row to unit root mean square, times a gain";
  let description = [{
    `y[n, d] = x[n, d] / sqrt(mean_d(x[n, d]^2) + eps) * gain[d]` (Zhang and Sennrich, arXiv:1910.07467), without a
    gain `gain[d] = 1`. A gain of `1 + w` is an `mk.weight` with a view that adds one.
    Fuses into a consumer's prologue; alone it lowers to a `columns` kind.

    ```mlir
    %n = mk.rms_norm %x, %g {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Optional<Mk_Vector>:$gain, F64Attr:$eps);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input (`,` $gain^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_LayerNormOp : Mk_Op<"layer_norm", [Pure, AttrSizedOperandSegments]> {
  let summary = "center each row and scale it to unit variance, times a gain, plus a bias";
  let description = [{
    With `m = mean_d(x[n, d])` and `v = mean_d((x[n, d] - m)^2)`,
    `y[n, d] = (x[n, d] - m) / sqrt(v + eps) * gain[d] + bias[d]` (Ba et al., arXiv:1607.06450); without a gain
    `gain[d] = 1`, without a bias `bias[d] = 0`. The mean comes first, then the sum of squares of what is left.
    Fuses into a consumer's prologue; alone it lowers to a `columns` kind.

    ```mlir
    %n = mk.layer_norm %x gain %g bias %c {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Optional<Mk_Vector>:$gain, Optional<Mk_Vector>:$bias, F64Attr:$eps);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input (`gain` $gain^)? (`bias` $bias^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_HeadNormOp : Mk_Op<"head_norm", [Pure]> {
  let summary = "scale each head to unit root mean square, times a gain";
  let description = [{
    The columns are heads of `head_dim`; with the mean over the columns of head h alone,
    `y[n, h, d] = x[n, h, d] / sqrt(mean_d(x[n, h, d]^2) + eps) * gain[d]`: the norm of queries and keys (Dehghani et
    al., arXiv:2302.05442), all heads with one gain. A column needs its whole head, which no weight tile has: so it
    follows a product in a task of its own, see `mk.rowwise`; alone it lowers to a `columns` kind.

    ```mlir
    %n = mk.head_norm %q, %h {head_dim = 16 : i64, eps = 1.0e-6 : f64}
      : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Mk_Vector:$gain, I64Attr:$head_dim, F64Attr:$eps);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input `,` $gain attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_RopeOp : Mk_Op<"rope", [Pure]> {
  let summary = "rotate the halves of each head by the token's position";
  let description = [{
    The columns are heads of `head_dim`. For each frequency i, columns i and i + h of a head are rotated by the angle
    `positions[n] * frequencies[i]`, cosine and sine multiplied by `scale`: `y[i] = x[i] cos - x[i + h] sin`,
    `y[i + h] = x[i + h] cos + x[i] sin` (Su et al., arXiv:2104.09864, in the half-split order of GPT-NeoX). The other
    columns stay as they are. `partner` is h: half a head or, by default, the number of frequencies. Partners must
    land in one weight tile to fuse into an epilogue; the tile map permutes rows for that.

    ```mlir
    %r = mk.rope %q, %positions, %f {head_dim = 16 : i64}
      : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Mk_Indices:$positions, Mk_Vector:$frequencies,
                       I64Attr:$head_dim, DefaultValuedAttr<F64Attr, "1.0">:$scale,
                       DefaultValuedAttr<I64Attr, "0">:$partner);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input `,` $positions `,` $frequencies attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The number of frequencies, and how far the columns of a pair are apart.
    int64_t getPairs();
    int64_t getDistance() { return getPartner() ? int64_t(getPartner()) : getPairs(); }
  }];
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

def Mk_RowwiseOp : Mk_Op<"rowwise", [RecursiveMemoryEffects]> {
  let summary = "row-wise work that is one task without a product";
  let description = [{
    Its region is computed in place, as an epilogue of `mk.linear` is: one block with an argument for each of `inputs`,
    which may use values from above and ends in `mk.yield` of the results. The columns of the inputs, side by side in
    their order, stand for the accumulators: they are what work units are cut from, whole heads at a time.

    Lowers to a `columns` kind.

    ```mlir
    %r = mk.rowwise %q : (tensor<?x64xf32>) -> tensor<?x64xf32> {
    ^bb0(%row: tensor<?x64xf32>):
      %n = mk.head_norm %row, %h {head_dim = 16 : i64, eps = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x64xf32>
      %s = mk.rope %n, %positions, %f {head_dim = 16 : i64} : (tensor<?x64xf32>, tensor<?xi32>, tensor<8xf32>) -> tensor<?x64xf32>
      mk.yield %s : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Variadic<Mk_Activation>:$inputs);
  let regions = (region SizedRegion<1>:$body);
  let results = (outs Variadic<AnyType>:$results);
  let assemblyFormat = "$inputs attr-dict `:` functional-type(operands, results) $body";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Columns of the inputs before input `number`.
    int64_t getFirstColumn(unsigned number);
    /// Columns of all inputs.
    int64_t getColumns() { return getFirstColumn(getInputs().size()); }
  }];
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

// A column of the result needs only that column of each operand; a vector applies to every row. Passes ask for the
// trait and never for the single op, and passes/cpu/Elementwise.h has the arithmetic of each for both machines.
def Mk_Elementwise : NativeOpTrait<"Elementwise"> { let cppNamespace = "::mlir::mk"; }

class Mk_BinaryOp<string mnemonic, string symbol, list<Trait> traits = []>
    : Mk_Op<mnemonic, !listconcat([Pure, Mk_Elementwise], traits)> {
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
def Mk_AddOp : Mk_BinaryOp<"add", "+", [Commutative]>;
def Mk_SubOp : Mk_BinaryOp<"sub", "-">;
def Mk_MulOp : Mk_BinaryOp<"mul", "*", [Commutative]>;
def Mk_DivOp : Mk_BinaryOp<"div", "/">;

class Mk_ScalarOp<string mnemonic, string symbol> : Mk_Op<mnemonic, [Pure, Mk_Elementwise]> {
  let summary = "elementwise `x " # symbol # " number`, the number rounded to float32";
  let description = [{
    Fuses into prologues and epilogues; alone it lowers to a `columns` kind.

    ```mlir
    %y = mk.}] # mnemonic # [{ %x {number = 5.0e-01 : f64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, F64Attr:$number);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}
def Mk_ScaleOp : Mk_ScalarOp<"scale", "*">;
def Mk_ShiftOp : Mk_ScalarOp<"shift", "+">;

class Mk_UnaryOp<string mnemonic, string formula, string source = ""> : Mk_Op<mnemonic, [Pure, Mk_Elementwise]> {
  let summary = "elementwise `" # formula # "`" # !if(!empty(source), "", " (" # source # ")");
  let description = [{
    Fuses into prologues and epilogues; alone it lowers to a `columns` kind.

    ```mlir
    %y = mk.}] # mnemonic # [{ %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}
def Mk_ExpOp : Mk_UnaryOp<"exp", "e^x">;
def Mk_TanhOp : Mk_UnaryOp<"tanh", "tanh(x)">;
def Mk_SigmoidOp : Mk_UnaryOp<"sigmoid", "1 / (1 + exp(-x))">;
def Mk_ReluOp : Mk_UnaryOp<"relu", "max(x, 0)">;
def Mk_SiluOp : Mk_UnaryOp<"silu", "x / (1 + exp(-x))", "Elfwing et al., arXiv:1702.03118">;
def Mk_GeluOp : Mk_UnaryOp<"gelu", "x / 2 (1 + erf(x / sqrt(2)))", "Hendrycks and Gimpel, arXiv:1606.08415">;
def Mk_GeluTanhOp : Mk_UnaryOp<"gelu_tanh", "x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))",
                               "the approximation in the same paper">;

def Mk_GluOp : Mk_Op<"glu", [Pure, Mk_Elementwise]> {
  let summary = "gated linear unit: `silu(gate) * up`";
  let description = [{
    The gate of SwiGLU (Shazeer, arXiv:2002.05202); gates with another activation are that op and an `mk.mul`, which
    fuse in the same way. As an epilogue of the concatenated gate and up
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

#endif // MK_ROW_OPS_TD
