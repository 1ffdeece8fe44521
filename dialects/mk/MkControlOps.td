// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_CONTROL_OPS_TD
#define MK_CONTROL_OPS_TD

// What a step does depends on its data. Included by MkOps.td.

def Mk_AcrossRowsOp : Mk_Op<"across_rows", [Pure]> {
  let summary = "the sum, mean, largest or smallest of each column over all rows of the step, in every row";
  let description = [{
    `how` is "sum", "mean", "max" or "min". Rows are added in ascending order, so the result has one value whatever the
    workers are; a maximum or minimum of anything that is not a number is not a number. The only operation in which rows
    meet outside of attention. That is why it is for functions whose calls are one step (`mk.finish`), and not for tokens,
    whose results must not depend on what else is in a batch. Lowers to a `serial` kind.

    ```mlir
    %least = mk.across_rows %confidence {how = "min"} : (tensor<?x1xf32>) -> tensor<?x1xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$input, StrAttr:$how);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Mk_ChooseOp : Mk_Op<"choose", [Pure]> {
  let summary = "the rows of one side or of the other, as a predicate of the whole step says";
  let description = [{
    `%taken` if the one column of `%predicate` is not 0, else `%other`. All rows of the predicate are equal (they come
    from `mk.across_rows`), so it is one decision for the step. As a value this is plain: both sides are computed, one is
    taken. What makes it control is that `mk-form-tasks` gives every operation that only one side needs that side as a
    condition: its tasks are passed over in steps that take the other one, see `mk_task.family`.
    Only the rows of the side that is taken are looked at. Lowers to a `columns` kind.

    ```mlir
    %y = mk.choose %confident, %early, %late : (tensor<?x1xf32>, tensor<?x10xf32>, tensor<?x10xf32>) -> tensor<?x10xf32>
    ```
  }];
  let arguments = (ins Mk_Activation:$predicate, Mk_Activation:$taken, Mk_Activation:$other);
  let results = (outs Mk_Activation:$result);
  let assemblyFormat = "$predicate `,` $taken `,` $other attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif // MK_CONTROL_OPS_TD
