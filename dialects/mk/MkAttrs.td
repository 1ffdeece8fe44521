// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_ATTRS_TD
#define MK_ATTRS_TD

include "MkDialect.td"
include "mlir/IR/AttrTypeBase.td"

def Mk_TargetAttr : AttrDef<Mk_Dialect, "Target"> {
  let mnemonic = "target";
  let summary = "what the passes may know about the machine";
  let description = [{
    The module attribute `mk.target` holds one; passes read it and nothing else about the machine.

    `#mk.target<kind = "cpu", features = "avx512f,avx512bf16", workers = 2, lanes = 16, bandwidth = 30>`

    * `kind`: `"cpu"` or `"gpu"`; `features`: comma-separated LLVM target features that the code may use, on a
      GPU the architecture, as in `"sm_90a"`;
    * `workers`: persistent workers, one per physical core, or one CTA per multiprocessor;
    * `lanes`: float32 lanes of one vector register (4, 8 or 16), 2 on a GPU; a weight tile has `2 * lanes` rows;
    * `bandwidth`: read bandwidth in GB/s for the cost model;
    * `shared`: bytes of on-chip memory that a CTA may have; `in_flight`: bytes of weights that it keeps on their
      way while its ring holds enough, and half of what it keeps when it does not. 0 on a CPU;
    * `registers`: 32-bit registers of a multiprocessor, which the threads of its CTA share. What its instructions are, 1 or
      0: `bulk_copy`: one thread has a copy engine fill shared memory; `set_registers`: warps give registers to others
      while they run; `mma_bf16`: tensor cores multiply bfloat16. Only what differs from an sm_90a is written.

    `#mk.target<kind = "gpu", features = "sm_90a", workers = 132, lanes = 2, bandwidth = 3150, shared = 232448, in_flight = 32768>`
  }];
  let parameters = (ins StringRefParameter<"machine class">:$kind, StringRefParameter<"LLVM features">:$features,
                        "int64_t":$workers, "int64_t":$lanes, "int64_t":$bandwidth,
                        DefaultValuedParameter<"int64_t", "0">:$shared,
                        DefaultValuedParameter<"int64_t", "0">:$in_flight,
                        DefaultValuedParameter<"int64_t", "65536">:$registers,
                        DefaultValuedParameter<"int64_t", "1">:$bulk_copy,
                        DefaultValuedParameter<"int64_t", "1">:$set_registers,
                        DefaultValuedParameter<"int64_t", "1">:$mma_bf16);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isGpu() const { return getKind() == "gpu"; }
  }];
}

def Mk_OptionsAttr : AttrDef<Mk_Dialect, "Options"> {
  let mnemonic = "options";
  let summary = "the sizes that a program is compiled for";
  let description = [{
    The module attribute `mk.options` holds one.

    `#mk.options<max_tokens = 512, max_rows = 64, max_sequences = 8, max_length = 2048, page = 64, split = 256>`

    * `max_tokens`: tokens of one step; `max_rows`: logit rows of one step;
    * `max_sequences`: slots; `max_length`: positions of a slot, a multiple of `page`;
    * `page`: positions of one page of the KV cache, a multiple of the target's lanes;
    * `split`: positions that one attention task covers, a multiple of `page`.
  }];
  let parameters = (ins "int64_t":$maxTokens, "int64_t":$maxRows, "int64_t":$maxSequences, "int64_t":$maxLength,
                        "int64_t":$page, "int64_t":$split);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getPagesPerSlot() const { return getMaxLength() / getPage(); }
    int64_t getSplits() const { return (getMaxLength() + getSplit() - 1) / getSplit(); }
  }];
}

def Mk_ViewAttr : AttrDef<Mk_Dialect, "View"> {
  let mnemonic = "view";
  let summary = "a tensor of the checkpoint as a weight shows it";
  let description = [{
    What an `mk.weight` makes of its tensor when it is packed, so that it costs nothing later:

    `#mk.view<shape = [96, 64], offset = 16, sizes = [2, 16], strides = [48, 1]>`

    * `shape`: the tensor's own sizes;
    * `transposed`: its columns are taken for rows, before all else;
    * `offset`, `sizes`, `strides`: row r of the weight, written with a digit for each of `sizes`, is row
      `offset + sum of digit * stride`. The example takes rows 16 .. 31 and 64 .. 79. No sizes: all rows as they are;
    * `plus`: added to every element, in float32;
    * `flat`: the tensor, of any rank, as one vector in C order; only its `shape` is said besides.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, DefaultValuedParameter<"bool", "false">:$transposed,
                        DefaultValuedParameter<"int64_t", "0">:$offset,
                        OptionalArrayRefParameter<"int64_t">:$sizes, OptionalArrayRefParameter<"int64_t">:$strides,
                        APFloatParameter<"added to every element">:$plus,
                        DefaultValuedParameter<"bool", "false">:$flat);
  let builders = [AttrBuilder<(ins "ArrayRef<int64_t>":$shape, "bool":$transposed, "int64_t":$offset,
                                   "ArrayRef<int64_t>":$sizes, "ArrayRef<int64_t>":$strides, "const APFloat &":$plus), [{
    return $_get($_ctxt, shape, transposed, offset, sizes, strides, plus, /*flat=*/false);
  }]>];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The sizes of what is seen.
    SmallVector<int64_t> getViewedShape() const;
  }];
}

#endif // MK_ATTRS_TD
