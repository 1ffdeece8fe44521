// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_PASSES_H
#define MK_PASSES_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

namespace mlir::mk {

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

/// Every dialect that a module may hold at any level, with the translations to LLVM IR.
void registerEverything(DialectRegistry &registry);

/// Every pass of mk, the upstream passes that the pipelines use, and the pipelines by name.
void registerAllPassesAndPipelines();

} // namespace mlir::mk

#endif // MK_PASSES_PASSES_H
