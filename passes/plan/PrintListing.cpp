// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/Passes.h"
#include "passes/analysis/Listing.h"

namespace mlir::mk {
#define GEN_PASS_DEF_PRINTLISTING
#include "passes/Passes.h.inc"

namespace {
struct PrintListing : impl::PrintListingBase<PrintListing> {
  void runOnOperation() override {
    getOperation().walk([](mk_task::TableOp table) { printListing(table, llvm::outs()); });
    markAllAnalysesPreserved();
  }
};
} // namespace
} // namespace mlir::mk
