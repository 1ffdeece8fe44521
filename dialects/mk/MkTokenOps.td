// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_TOKEN_OPS_TD
#define MK_TOKEN_OPS_TD

// The next token. Included by MkOps.td.

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

def Mk_FinishOp : Mk_Op<"finish"> {
  let summary = "end a step that has results of its own instead of tokens";
  let description = [{
    The last op of a function with inputs and results, as `mk.advance` is of a language model's: every row of `results` has
    been written when it runs. On a CPU no step follows in the run; on a GPU the next one of the call's agenda, if there is
    one. Lowers to a `serial` kind.

    ```mlir
    mk.finish %y, %z : tensor<?x64xf32>, tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Variadic<Mk_Activation>:$results);
  let assemblyFormat = "$results attr-dict `:` type($results)";
  let hasVerifier = 1;
}

#endif // MK_TOKEN_OPS_TD
