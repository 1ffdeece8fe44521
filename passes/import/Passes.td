// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_IMPORT_TD
#define MK_PASSES_IMPORT_TD

include "mlir/Pass/PassBase.td"

def ConvertTorchToMk : Pass<"convert-torch-to-mk", "ModuleOp"> {
  let summary = "Turn an imported model from unregistered torch operators into mk.";
  let description = [{
    Walks `@step` in order and works out for each torch tensor *what it means*: a view of activation rows,
    a weight, one of the step's inputs, or a piece of a written-out pattern (a mean of squares, a rotated
    half, ...). Views, transposes and reshapes change only how rows are looked at, so they need no op; a
    pattern becomes an op when its last piece arrives and every earlier piece fits. A norm, rotation or gate is
    recognised by its arithmetic, never by a class name. A piece that ends anywhere else is computed after all,
    and what no pattern takes becomes a `mk.generic`, whose loop nest cannot name another token: an operator that
    relates tokens to each other is an error, so nothing is dropped or guessed.

    Only what the result depends on is converted: masks, sizes and assertions that feed nothing are left
    behind. Casts between floating-point types are left out because every mk op computes in float32.
    Parameters with two dimensions are stored as `weight-type`, and so is the KV cache; one-dimensional
    ones and buffers are float32.

    **Requires** one function `@step` in the raw torch dialect, as generic text prints it: every argument
    carries `mk.kind` (`parameter`, `buffer`, `constant` or `user_input`) and `mk.name`, the user inputs are
    `tokens`, `positions`, `slots` and `rows` (si64 `[?]`), the result is `[?,V]` logits of the rows `rows`,
    and locations are module paths. With arguments of `mk.kind` `input`, one row for each token (`[1..,?,D..]`, or si64
    `[1..,?]`), the results are any number of rows of tokens instead.

    **Ensures** `@step(tokens, positions, slots, rows) -> tensor<?xVxf32>` made of `mk` ops alone, inputs behind `rows`
    and with `mk.input`, one
    `mk.weight` a parameter, locations kept; or one error for each operator that has no conversion, with
    its module path.

    ```mlir
    !i = !torch.vtensor<[?],si64>
    !x = !torch.vtensor<[?,4],f32>
    !table = !torch.vtensor<[8,4],f32>
    func.func @step(%table: !table {mk.kind = "parameter", mk.name = "embed"},
        %tokens: !i {mk.kind = "user_input", mk.name = "tokens"},
        %positions: !i {mk.kind = "user_input", mk.name = "positions"},
        %slots: !i {mk.kind = "user_input", mk.name = "slots"},
        %rows: !i {mk.kind = "user_input", mk.name = "rows"}) -> !x {
      %pad = "torch.constant.int"() <{value = -1 : i64}> : () -> !torch.int
      %no = "torch.constant.bool"() <{value = false}> : () -> !torch.bool
      %x = "torch.aten.embedding"(%table, %tokens, %pad, %no, %no)
        : (!table, !i, !torch.int, !torch.bool, !torch.bool) -> !x
      %a = "torch.aten.silu"(%x) : (!x) -> !x
      %b = "torch.aten.mul.Tensor"(%a, %x) : (!x, !x) -> !x
      %list = "torch.prim.ListConstruct"(%rows) : (!i) -> !torch.list<vtensor>
      %r = "torch.aten.index.Tensor"(%b, %list) : (!x, !torch.list<vtensor>) -> !x
      return %r : !x
    }
    // becomes
    func.func @step(%tokens: tensor<?xi32> ..., %positions: tensor<?xi32> ..., %slots: tensor<?xi32> ...,
        %rows: tensor<?xi32> ...) -> tensor<?x4xf32> {
      %w = mk.weight @embed : tensor<8x4xbf16>
      %x = mk.embedding %w, %tokens : (tensor<8x4xbf16>, tensor<?xi32>) -> tensor<?x4xf32>
      %b = mk.glu %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
      %r = mk.select_rows %b, %rows : (tensor<?x4xf32>, tensor<?xi32>) -> tensor<?x4xf32>
      return %r : tensor<?x4xf32>
    }
    ```
  }];
  let options = [
    Option<"weightType", "weight-type", "std::string", "\"bf16\"",
           "element type of stored matrices and of the KV cache: f32 or bf16">
  ];
  let dependentDialects = ["::mlir::func::FuncDialect", "::mlir::mk::MkDialect"];
}

#endif // MK_PASSES_IMPORT_TD
