// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_PLAN_JOINSIDES_H
#define MK_PASSES_PLAN_JOINSIDES_H

#include "dialects/mk_task/MkTask.h"

namespace mlir::mk {

/// Lets both sides of an `mk.choose` write the buffer of its result, and removes the choose, where
/// each side is one family's result that nobody else reads and that exactly the choose's own
/// conditions and this side make run: of the two one runs, so nothing is left to be copied.
void joinSides(mk_task::ProgramOp program);

} // namespace mlir::mk

#endif // MK_PASSES_PLAN_JOINSIDES_H
