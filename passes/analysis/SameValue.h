// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_SAMEVALUE_H
#define MK_PASSES_ANALYSIS_SAMEVALUE_H

#include "dialects/mk_task/MkTask.h"

namespace mlir::mk_task {

/// Whether two families, whose kinds are given, write the same value to a buffer: both by one and
/// the same operation, of memory that is the same, or of what `first` writes beside it.
bool computeSame(FamilyOp first, KindOp firstKind, FamilyOp second, KindOp secondKind,
                 StringRef buffer);

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_SAMEVALUE_H
