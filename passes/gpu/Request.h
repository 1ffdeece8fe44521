// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_REQUEST_H
#define MK_PASSES_GPU_REQUEST_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// The input by which an attention over whole entries is told how far each row sees; none if rows
/// see what is before them.
mk_task::BufferOp findSeen(mk_task::ProgramOp program, mk_task::KindOp attends);
/// That of any attention of the program.
mk_task::BufferOp findSeen(mk_task::ProgramOp program);
/// Which array of SharedLayout::kHeader a buffer is; -1: none.
int64_t headerOf(mk_task::ProgramOp program, mk_task::BufferOp buffer);

/// An array of the request block, by its name in Abi.def.
Value requestArray(GpuBuilder &b, Value context, OptionsAttr options, StringRef name);

/// The pool's page, an i32, with page `number` of the slot of a token: the first ones of each token
/// are on the chip.
Value pageAt(GpuBuilder &b, Value context, OptionsAttr options, Value token, Value slot,
             Value number);

} // namespace mlir::mk

#endif // MK_PASSES_GPU_REQUEST_H
