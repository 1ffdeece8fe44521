// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_REQUEST_H
#define MK_PASSES_GPU_REQUEST_H

#include "dialects/mk/Mk.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// An array of the request block, by its name in Abi.def.
Value requestArray(GpuBuilder &b, Value context, OptionsAttr options, StringRef name);

/// The pool's page, an i32, with page `number` of the slot of a token: the first ones of each token
/// are on the chip.
Value pageAt(GpuBuilder &b, Value context, OptionsAttr options, Value token, Value slot,
             Value number);

} // namespace mlir::mk

#endif // MK_PASSES_GPU_REQUEST_H
