// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_CPU_DESCRIPTOR_H
#define MK_PASSES_CPU_DESCRIPTOR_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::mk {

/// Memory at an llvm pointer as a memref, with the static sizes and strides of its type; a dynamic
/// size is the largest there is.
Value makeDescriptor(ImplicitLocOpBuilder &b, MemRefType type, Value pointer);

} // namespace mlir::mk

#endif // MK_PASSES_CPU_DESCRIPTOR_H
