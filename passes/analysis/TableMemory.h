// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_TABLEMEMORY_H
#define MK_PASSES_ANALYSIS_TABLEMEMORY_H

#include "passes/analysis/Table.h"

namespace mlir::mk_task {

/// The part of the proof that asks for no order: every unit is run once, on the bytes that the plan
/// has for it, and those lie where they may.
LogicalResult verifyTableMemory(ProgramOp program, AccessAnalysis &analysis, Table &table);

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_TABLEMEMORY_H
