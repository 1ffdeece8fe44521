// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_TYPES_TD
#define MK_TYPES_TD

include "MkDialect.td"
include "mlir/IR/AttrTypeBase.td"

class Mk_Type<string cppName, string asm> : TypeDef<Mk_Dialect, cppName> { let mnemonic = asm; }

def Mk_CacheType : Mk_Type<"Cache", "cache"> {
  let summary = "the keys and values of one layer, for every slot";
  let description = [{
    `!mk.cache<3x64xbf16>` holds, for each slot and position, 3 key heads and 3 value heads of 64
    elements. Its capacity is a matter of the runtime (a pool of pages), not of the type.
  }];
  let parameters = (ins "int64_t":$heads, "int64_t":$headDim, "::mlir::Type":$elementType);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

// The verifiers say "expected ..." in words, so each constraint is a sentence of its own. Only the row count is
// ever dynamic: every other size is static and positive, which passes rely on without asking.
class Mk_Tensor<Pred predicate, string description> : Type<predicate, description, "::mlir::RankedTensorType">;
class Mk_Sizes<string condition> : CPred<"[](::llvm::ArrayRef<int64_t> sizes) { return " # condition #
    "; }(::llvm::cast<::mlir::RankedTensorType>($_self).getShape())">;
def Mk_Static : Mk_Sizes<"::llvm::all_of(sizes, [](int64_t size) { return size > 0; })">;
def Mk_Rows : Mk_Sizes<"sizes[0] == ::mlir::ShapedType::kDynamic && (sizes.size() == 1 || sizes[1] > 0)">;

def Mk_Activation : Mk_Tensor<And<[TensorRankOf<[F32, BF16], [2]>.predicate, Mk_Rows]>,
    "activation rows tensor<?xDxf32|bf16>">;
def Mk_Weight : Mk_Tensor<Or<[And<[TensorRankOf<[F32, BF16], [2]>.predicate, Mk_Static]>,
                              And<[TensorRankOf<[F32, BF16], [3]>.predicate, Mk_Static]>,
                              And<[TensorRankOf<[F32], [1]>.predicate, Mk_Static]>]>,
    "weight tensor<Dxf32>, tensor<RxKxf32|bf16> or tensor<ExRxKxf32|bf16>">;
def Mk_Matrix : Mk_Tensor<And<[TensorRankOf<[F32, BF16], [2]>.predicate, Mk_Static]>,
    "weight matrix tensor<RxKxf32|bf16>">;
def Mk_Experts : Mk_Tensor<And<[TensorRankOf<[F32, BF16], [3]>.predicate, Mk_Static]>,
    "a matrix for each expert tensor<ExRxKxf32|bf16>">;
def Mk_Vector : Mk_Tensor<And<[TensorRankOf<[F32], [1]>.predicate, Mk_Static]>, "per-column weight tensor<Dxf32>">;
def Mk_Indices : Mk_Tensor<And<[TensorRankOf<[I32], [1]>.predicate, Mk_Rows]>, "run-time integers tensor<?xi32>">;
def Mk_GenericInput : Mk_Tensor<Or<[Mk_Activation.predicate, Mk_Vector.predicate, Mk_Indices.predicate]>,
    "activation rows, a per-column weight or run-time integers">;
def Mk_ActivationOrVector : Mk_Tensor<Or<[Mk_Activation.predicate, Mk_Vector.predicate]>,
    "activation rows or a per-column weight">;

#endif // MK_TYPES_TD
