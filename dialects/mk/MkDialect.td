// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_DIALECT_TD
#define MK_DIALECT_TD

include "mlir/IR/OpBase.td"

def Mk_Dialect : Dialect {
  let name = "mk";
  let cppNamespace = "::mlir::mk";
  let summary = "the model: tensors, one op per thing a model author would name";
  let description = [{
    The highest of the three levels. One function `@step` holds one pass through the model:

    ```
    torch dialect  --convert-torch-to-mk-->  mk  --mk-fuse-*-->  mk  --mk-form-tasks-->  mk_task
    ```

    **Values.** Activations are `tensor<?xDxf32>`: one row per token (or per requested logit row), the
    row count known only at run time. Weights are named, never constants: `mk.weight @name` produces a
    tensor whose element type is the *storage* type. A KV cache is a value of type `!mk.cache`; `kv_append`
    returns the grown cache, so ordinary data flow orders every reader after every writer.

    **Numbers.** Every op computes in float32. `mk.linear` rounds its input rows to the element type of
    its weights (round to nearest even), multiplies exactly and accumulates in float32 in ascending order
    of the input column. A result type narrower than float32 rounds once, at the end. No op's result for a
    row depends on the other rows, except `mk.attention` and `mk.attend`, which see rows of the same slot
    at positions up to their own.

    **Fusion.** `mk.linear` carries two regions of `mk` ops: a *prologue* on its input row and an
    *epilogue* on its accumulators. The meaning of a fused op is that of its regions executed in place, so
    the reference interpreter needs no rule for fusion.

    **The rest.** `mk.generic` says what no other op does: a loop nest over the columns of one row with a scalar region.
    It keeps tokens apart like any op here, since a row can name no other row.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect", "::mlir::math::MathDialect"];
}

#endif // MK_DIALECT_TD
