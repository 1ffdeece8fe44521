// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The functions of one number that `mk.generic` may apply, for scalars and vectors of float32, on
// both machines. Unlike those of CodeBuilder they keep what is not a number and reach infinity, as
// PyTorch's do: nothing is known of what a model feeds them.
#ifndef MK_PASSES_CPU_SCALARMATH_H
#define MK_PASSES_CPU_SCALARMATH_H

#include "dialects/mk/Mk.h"
#include "passes/cpu/VectorMath.h"

namespace mlir::mk {

/// The result of an op of the region of a mk.generic, from its operands: scalars, or vectors with
/// one lane for each of as many points. Not for the ops of mk.
Value makeScalarOp(CodeBuilder &b, Operation *op, ArrayRef<Value> operands);

/// `like` with another element type: a vector of it, or the scalar itself.
Type withElementType(Type like, Type element);

} // namespace mlir::mk

#endif // MK_PASSES_CPU_SCALARMATH_H
