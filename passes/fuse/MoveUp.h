// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_FUSE_MOVEUP_H
#define MK_PASSES_FUSE_MOVEUP_H

#include "dialects/mk/Mk.h"

namespace mlir::mk {

/// Moves what `values` need and what stands after `op` in its block before `op`. Fails, moving
/// nothing, if one of these ops depends on `op` or has an effect.
LogicalResult moveUp(ValueRange values, Operation *op);

} // namespace mlir::mk

#endif // MK_PASSES_FUSE_MOVEUP_H
