// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_FUSE_EPILOGUE_H
#define MK_PASSES_FUSE_EPILOGUE_H

#include "dialects/mk/Mk.h"

namespace mlir::mk {

/// Moves `op` into the epilogue of the linear that makes one of its operands, if that is legal: its
/// results become results of that linear, and results that nobody reads any more disappear. Among
/// several linears the latest that may take the op does. Returns whether it moved.
///
/// It is legal when the epilogue can compute it column by column of the weight tiles (see
/// Columns.h) and every other operand can be computed before the linear; ops that stand between are
/// moved up for that.
bool fuseIntoEpilogue(Operation *op);

/// The linear, with what its epilogue yields now for results, in its place; `linear` is left
/// without regions, for the caller to replace and erase.
LinearOp takeOver(LinearOp linear);

} // namespace mlir::mk

#endif // MK_PASSES_FUSE_EPILOGUE_H
