// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_OPS_TD
#define MK_OPS_TD

include "MkDialect.td"
include "MkTypes.td"
include "MkAttrs.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Mk_Op<string mnemonic, list<Trait> traits = []> : Op<Mk_Dialect, mnemonic, traits>;

// One file a group.
include "MkLinearOps.td"
include "MkRowOps.td"
include "MkAttentionOps.td"
include "MkExpertOps.td"
include "MkGenericOps.td"
include "MkControlOps.td"
include "MkTokenOps.td"

#endif // MK_OPS_TD
