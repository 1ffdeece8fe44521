// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_CPU_DOT_H
#define MK_PASSES_CPU_DOT_H

#include "dialects/mk_cta/MkCta.h"
#include "passes/cpu/VectorMath.h"

namespace mlir::mk {

/// The sum that `mk_cta.dot` stands for, by the hardware's instruction where the features have it.
Value emitDot(CodeBuilder &b, mk_cta::DotOp op, StringRef features);

} // namespace mlir::mk

#endif // MK_PASSES_CPU_DOT_H
