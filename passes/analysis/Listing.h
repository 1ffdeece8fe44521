// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_LISTING_H
#define MK_PASSES_ANALYSIS_LISTING_H

#include "dialects/mk_task/MkTask.h"

namespace mlir::mk {

/// The instructions of each worker, one a line, with the names behind their numbers.
void printListing(mk_task::TableOp table, raw_ostream &os);

} // namespace mlir::mk

#endif // MK_PASSES_ANALYSIS_LISTING_H
