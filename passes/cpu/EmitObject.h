// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_CPU_EMITOBJECT_H
#define MK_PASSES_CPU_EMITOBJECT_H

#include "mlir/IR/BuiltinOps.h"

#include "llvm/IR/PassManager.h"
#include <string>

namespace llvm {
class Module;
class PassBuilder;
class TargetMachine;
} // namespace llvm

namespace mlir::mk {

/// Compiles a module of llvm ops to a relocatable object for this machine's triple, position
/// independent, for the given processor and comma-separated features ("+avx2,+fma"). Emits an error
/// on failure.
FailureOr<std::string> emitObject(ModuleOp module, StringRef cpu, StringRef features);

/// Runs the passes that `make` gives.
void runPasses(llvm::Module &module, llvm::TargetMachine &machine,
               llvm::function_ref<llvm::ModulePassManager(llvm::PassBuilder &)> make);
/// LLVM's optimisations as all of mk's targets want them.
void optimizeModule(llvm::Module &module, llvm::TargetMachine &machine);

/// Name and feature string of the processor that this process runs on, as LLVM knows it.
std::string hostCpu();
std::string hostFeatures();

} // namespace mlir::mk

#endif // MK_PASSES_CPU_EMITOBJECT_H
