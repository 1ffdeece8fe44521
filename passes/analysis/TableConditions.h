// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_TABLECONDITIONS_H
#define MK_PASSES_ANALYSIS_TABLECONDITIONS_H

#include "passes/analysis/Table.h"

namespace mlir::mk_task {

/// Proves that in every step, whichever sides it takes, each family that runs finds all that it
/// reads written by families that run too. Families of a table whose conditions the words have.
LogicalResult verifyConditions(ProgramOp program, AccessAnalysis &analysis, Table &table);

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_TABLECONDITIONS_H
