// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/EmitPtx.h"
#include "passes/cpu/EmitObject.h"

#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/Transforms/IPO/AlwaysInliner.h"
#include "llvm/Transforms/Scalar/SROA.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"

using namespace mlir;
using namespace mlir::mk;

/// The newest PTX that LLVM 19 writes; ptxas of every CUDA 12.5 and later reads it.
static constexpr llvm::StringLiteral kPtxVersion = "+ptx85";
/// The newest architecture that LLVM 19 knows. What mk uses of its instructions the later ones have
/// too, and ptxas checks that: code for these is code for this one under another heading.
static constexpr llvm::StringLiteral kNewest = "sm_90a";
static constexpr llvm::StringLiteral kLater[] = {"sm_100a", "sm_120a"};
static constexpr llvm::StringLiteral kLaterVersion = "8.7";

/// Replaces what follows `directive` on its line.
static void setDirective(std::string &ptx, StringRef directive, StringRef value) {
  size_t begin = ptx.find(directive) + directive.size(), end = ptx.find_first_of(",\n", begin);
  ptx.replace(begin, end - begin, value);
}

/// Kinds are optimised as functions of their own, and then become part of the kernel: in one
/// function from the start, what every kind computes of the step, the request and the context would
/// be computed once in front of the loop over the table, and held in registers through all of them.
static void optimizeKernels(llvm::Module &module, llvm::TargetMachine &machine) {
  auto replace = [&](llvm::Attribute::AttrKind from, llvm::Attribute::AttrKind to) {
    for (llvm::Function &function : module)
      if (function.hasFnAttribute(from)) {
        function.removeFnAttr(from);
        function.addFnAttr(to);
      }
  };
  replace(llvm::Attribute::AlwaysInline, llvm::Attribute::NoInline);
  optimizeModule(module, machine);
  replace(llvm::Attribute::NoInline, llvm::Attribute::AlwaysInline);
  runPasses(module, machine, [](llvm::PassBuilder &) {
    llvm::ModulePassManager passes;
    passes.addPass(llvm::AlwaysInlinerPass());
    passes.addPass(
        llvm::createModuleToFunctionPassAdaptor(llvm::SROAPass(llvm::SROAOptions::PreserveCFG)));
    passes.addPass(llvm::createModuleToFunctionPassAdaptor(llvm::SimplifyCFGPass()));
    return passes;
  });
}

FailureOr<std::string> mk::emitPtx(ModuleOp module, StringRef architecture) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();

  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> llvmModule = translateModuleToLLVMIR(module, context);
  if (!llvmModule)
    return module.emitError("cannot be translated to LLVM IR");
  std::string triple = "nvptx64-nvidia-cuda", message;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, message);
  if (!target)
    return module.emitError("no LLVM target for ") << triple << ": " << message;
  bool later = llvm::is_contained(kLater, architecture);
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      triple, later ? StringRef(kNewest) : architecture, kPtxVersion, llvm::TargetOptions(),
      std::nullopt, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
  if (!machine->getMCSubtargetInfo()->isCPUStringValid(machine->getTargetCPU()))
    return module.emitError("LLVM writes no PTX for ") << architecture;
  llvmModule->setTargetTriple(triple);
  llvmModule->setDataLayout(machine->createDataLayout());
  optimizeKernels(*llvmModule, *machine);

  llvm::SmallVector<char> text;
  llvm::raw_svector_ostream stream(text);
  llvm::legacy::PassManager passes;
  if (machine->addPassesToEmitFile(passes, stream, nullptr, llvm::CodeGenFileType::AssemblyFile))
    return module.emitError("LLVM cannot write PTX for ") << architecture;
  passes.run(*llvmModule);
  std::string ptx(text.begin(), text.end());
  if (later) {
    setDirective(ptx, ".version ", kLaterVersion);
    setDirective(ptx, ".target ", architecture);
  }
  return ptx;
}
