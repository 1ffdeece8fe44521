// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_EXPERT_OPS_TD
#define MK_EXPERT_OPS_TD

// Mixtures of experts: who computes which row, and the products of those that do. Included by MkOps.td.

def Mk_TopkRouteOp : Mk_Op<"topk_route", [Pure]> {
  let summary = "choose the experts of each row, and weigh them";
  let description = [{
    A column of `logits` is an expert. A row chooses the `chosen` experts of its largest logits; of equal logits the lowest
    expert comes first, and one that is not a number is never chosen. With `p[e] = exp(logits[n, e] - m)`, m the largest
    logit of the row,

    `y[n, e] = p[e] / sum_i p[i] * scale` for a chosen expert e, and exactly 0 for any other,

    where i runs over the chosen experts, the largest logit first, if `normalize` is set, and over all experts otherwise
    (Shazeer et al., arXiv:1701.06538; Jiang et al., arXiv:2401.04088). So the row says by itself which experts
    it needs. Lowers to a `serial` kind.

    ```mlir
    %r = mk.topk_route %logits {chosen = 2 : i64, normalize} : (tensor<?x8xf32>) -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$logits, I64Attr:$chosen, UnitAttr:$normalize,
                       DefaultValuedAttr<F64Attr, "1.0">:$scale);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$logits attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

class Mk_MoeOp<string mnemonic> : Mk_Op<mnemonic, [RecursiveMemoryEffects]> {
  let arguments = (ins Mk_Activation:$input, Mk_Activation:$route, Mk_Experts:$weight, I64Attr:$chosen);
  let regions = (region MaxSizedRegion<1>:$epilogue);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = [{
    $input `,` $route `,` $weight attr-dict `:` functional-type(operands, results) (`epilogue` $epilogue^)?
  }];
  let hasVerifier = 1;
}

def Mk_MoeLinearOp : Mk_MoeOp<"moe_linear"> {
  let summary = "multiply each row by the matrices of its chosen experts";
  let description = [{
    Row n of the input meets the matrices `W[e]` of the experts whose column of `route` is not 0, of which it has no more
    than `chosen`. With `e_j` the j-th of them in ascending order,
    `acc_j[n, c] = sum_k round(x[n, k]) * W[e_j, c, k]` in float32, k ascending, where `round` converts to the weight's
    element type. The result has for each j what the epilogue yields for `acc_j` (or `acc_j` itself), side by side
    in the order of j. Columns of experts that a row does not have are unspecified. The epilogue is one as that of
    `mk.linear`, and yields one tensor.

    Lowers to an `experts` kind: the tiles of an expert are read if a row of the step has chosen it, once for all of these.

    ```mlir
    %h = mk.moe_linear %x, %route, %w {chosen = 2 : i64}
        : (tensor<?x64xf32>, tensor<?x8xf32>, tensor<8x192x64xbf16>) -> tensor<?x192xf32> epilogue {
    ^bb0(%acc: tensor<?x192xf32>):
      %g = mk.slice %acc {offset = 0 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      %u = mk.slice %acc {offset = 96 : i64} : (tensor<?x192xf32>) -> tensor<?x96xf32>
      %y = mk.glu %g, %u : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
      mk.yield %y : tensor<?x96xf32>
    }
    ```
  }];
}

def Mk_MoeCombineOp : Mk_MoeOp<"moe_combine"> {
  let summary = "multiply the rows of the chosen experts by their matrices, and add them with their weights";
  let description = [{
    The input has for each expert `e_j` of row n, in ascending order, `K` columns `h_j` as `mk.moe_linear` makes
    them. Beginning with 0, and in ascending order of j,
    `sum[n, c] = fma(route[n, e_j], sum_k round(h_j[n, k]) * W[e_j, c, k], sum[n, c])` in float32: what a row gets does not
    depend on which experts the other rows of the step have chosen. The result is what the epilogue yields for `sum`, or
    `sum` itself.

    Lowers to an `experts` kind, as `mk.moe_linear`.

    ```mlir
    %y = mk.moe_combine %h, %route, %w {chosen = 2 : i64}
        : (tensor<?x192xf32>, tensor<?x8xf32>, tensor<8x64x96xbf16>) -> tensor<?x64xf32> epilogue {
    ^bb0(%sum: tensor<?x64xf32>):
      %s = mk.add %sum, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
      mk.yield %s : tensor<?x64xf32>
    }
    ```
  }];
}

def Mk_GateRowsOp : Mk_Op<"gate_rows", [Pure]> {
  let summary = "scale each row by the sigmoid of a number of its own";
  let description = [{
    `y[n, d] = x[n, d] * (1 / (1 + exp(-gate[n, 0])))`: what a shared expert, which all rows have, adds to those that a
    row chooses (Qwen team, Qwen1.5-MoE). Lowers to a `columns` kind.

    ```mlir
    %y = mk.gate_rows %x, %g : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, Mk_Activation:$gate);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input `,` $gate attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif // MK_EXPERT_OPS_TD
