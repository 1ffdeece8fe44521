// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_FUSE_PROLOGUE_H
#define MK_PASSES_FUSE_PROLOGUE_H

#include "dialects/mk/Mk.h"

namespace mlir::mk {

/// Whether the only uses of the result of `op` are as the input row of linears.
bool feedsOnlyLinears(Operation *op);

/// Clones `op` to the beginning of the prologue of each linear that reads its result, and erases
/// it. Its first operand becomes the linears' input. Requires `feedsOnlyLinears(op)`.
void fuseIntoPrologues(Operation *op);

} // namespace mlir::mk

#endif // MK_PASSES_FUSE_PROLOGUE_H
