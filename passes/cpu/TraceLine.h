// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_CPU_TRACELINE_H
#define MK_PASSES_CPU_TRACELINE_H

#include "passes/cpu/VectorMath.h"

namespace mlir::mk {

/// The address behind a `mk_cta.trace_line`, an index, for a CPU and a GPU alike. `trace` and
/// `instructions` are these words of the context, i64; the others are indices.
Value traceLine(CodeBuilder &b, Value trace, Value instructions, Value worker, Value step,
                Value number);

} // namespace mlir::mk

#endif // MK_PASSES_CPU_TRACELINE_H
