// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_DIALECTS_MK_CTA_MKCTA_H
#define MK_DIALECTS_MK_CTA_MKCTA_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/mk_cta/MkCtaDialect.h.inc"
#include "dialects/mk_cta/MkCtaEnums.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/mk_cta/MkCtaTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/mk_cta/MkCtaOps.h.inc"

namespace mlir::mk_cta {

/// Position of a named field in an instruction or a context; -1 if there is none.
int64_t instructionField(StringRef name);
int64_t contextField(StringRef name);

/// Elements of this type in a word of 4 bytes: 1 for float32, 2 for bfloat16.
int64_t elementsPerWord(Type elementType);

} // namespace mlir::mk_cta

#endif // MK_DIALECTS_MK_CTA_MKCTA_H
