// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_PLAN_KINDS_H
#define MK_PASSES_PLAN_KINDS_H

#include "dialects/mk_task/MkTask.h"
#include "passes/plan/Names.h"

namespace mlir::mk {

/// The kinds of a program under construction: ops that differ only in the memory they touch share
/// one.
class Kinds {
public:
  explicit Kinds(Names &names) : names(names) {}

  /// The kind that computes `op` from `arguments`; the null one is the packed weight of a product.
  /// `layouts` tells apart what the types of the arguments do not: how looked-up tables lie in
  /// memory.
  FlatSymbolRefAttr get(Operation *op, ArrayRef<Value> arguments, StringRef layouts,
                        mk_task::Domain domain);

  Block section; // the kinds, in the order of their first use

private:
  Names &names;
  llvm::StringMap<FlatSymbolRefAttr> byText;
};

} // namespace mlir::mk

#endif // MK_PASSES_PLAN_KINDS_H
