// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_TD
#define MK_PASSES_TD

include "mlir/Pass/PassBase.td"

// One file a stage, in the order of the compiler; passes/Pipelines.cpp runs them.
include "passes/import/Passes.td"
include "passes/fuse/Passes.td"
include "passes/plan/Passes.td"
include "passes/cpu/Passes.td"
include "passes/gpu/Passes.td"

#endif // MK_PASSES_TD
