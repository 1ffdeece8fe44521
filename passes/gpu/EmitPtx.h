// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_EMITPTX_H
#define MK_PASSES_GPU_EMITPTX_H

#include "mlir/IR/BuiltinOps.h"

#include <string>

namespace mlir::mk {

/// Compiles a module of llvm and nvvm ops to PTX for an architecture such as "sm_90a". Emits an
/// error on failure.
FailureOr<std::string> emitPtx(ModuleOp module, StringRef architecture);

} // namespace mlir::mk

#endif // MK_PASSES_GPU_EMITPTX_H
