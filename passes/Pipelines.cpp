// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The compiler, read from top to bottom: torch dialect -> mk -> fused mk -> plan and table -> llvm.
#include "passes/Passes.h"

#include "dialects/mk/Mk.h"
#include "dialects/mk_cta/MkCta.h"
#include "dialects/mk_task/MkTask.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::mk;

namespace {
struct ImportOptions : PassPipelineOptions<ImportOptions> {
  Option<std::string> weightType{*this, "weight-type",
                                 llvm::cl::desc("storage type of matrices: f32 or bf16"),
                                 llvm::cl::init("bf16")};
};

/// Each fusion can be left out, so that strategies can be compared.
struct FuseOptions : PassPipelineOptions<FuseOptions> {
  Option<bool> concat{*this, "concat", llvm::cl::desc("join linears that read the same rows"),
                      llvm::cl::init(true)};
  Option<bool> norm{*this, "norm", llvm::cl::desc("norms into prologues"), llvm::cl::init(true)};
  Option<bool> combine{*this, "combine",
                       llvm::cl::desc("the join of attention ranges into a prologue"),
                       llvm::cl::init(true)};
  Option<bool> rope{*this, "rope", llvm::cl::desc("rope and the cache append into epilogues"),
                    llvm::cl::init(true)};
  Option<bool> heads{*this, "heads",
                     llvm::cl::desc("norms of heads with rope and the cache append in one task"),
                     llvm::cl::init(true)};
  Option<bool> attend{*this, "attend",
                      llvm::cl::desc("norms and rotations of heads into attention"),
                      llvm::cl::init(false)};
  Option<bool> glu{*this, "glu", llvm::cl::desc("gated units into epilogues"),
                   llvm::cl::init(true)};
  Option<bool> residual{*this, "residual", llvm::cl::desc("sums and products into epilogues"),
                        llvm::cl::init(true)};
  Option<bool> experts{*this, "experts",
                       llvm::cl::desc("sums and products behind those of experts"),
                       llvm::cl::init(true)};
  Option<bool> generic{*this, "generic",
                       llvm::cl::desc("generated loop nests into those that read them"),
                       llvm::cl::init(true)};
  Option<bool> argmax{*this, "argmax", llvm::cl::desc("partial argmax into the head's epilogue"),
                      llvm::cl::init(true)};
  Option<bool> round{*this, "round", llvm::cl::desc("rows of bfloat16 for norms before products"),
                     llvm::cl::init(false)};
  Option<bool> forward{*this, "forward",
                       llvm::cl::desc("the step's keys and values from their rows to attention"),
                       llvm::cl::init(false)};
  Option<bool> narrow{*this, "narrow",
                      llvm::cl::desc("write rows in the type that their only reader rounds to"),
                      llvm::cl::init(true)};
};

struct TraceOptions : PassPipelineOptions<TraceOptions> {
  Option<bool> trace{*this, "trace", llvm::cl::desc("note the times of every instruction"),
                     llvm::cl::init(false)};
};
} // namespace

/// torch dialect (unregistered) -> mk.
static void buildImportPipeline(OpPassManager &pm, const ImportOptions &options) {
  ConvertTorchToMkOptions convert;
  convert.weightType = options.weightType;
  pm.addPass(createConvertTorchToMk(convert));
  pm.addPass(createCSEPass()); // one mk.weight per name
}

/// mk -> mk: what a step does besides the model, the forms that tasks need, then fusion.
static void buildFusePipeline(OpPassManager &pm, const FuseOptions &options) {
  pm.addPass(createAddSampler());
  pm.addPass(createSplitAttention());
  pm.addPass(createSplitArgmax());
  if (options.concat) // before the prologues: linears are joined while they read the same value
    pm.addPass(createConcatLinears());
  if (options.norm)
    pm.addPass(createFuseNorm());
  if (options.combine)
    pm.addPass(createFuseCombine());
  pm.addPass(createFuseSlice()); // shows the passes below plain results where there were slices
  if (options.residual)          // before rope and glu: a bias comes between them and the product
    pm.addPass(createFuseResidual());
  if (options.rope)
    pm.addPass(createFuseRope());
  if (options.attend) // for a GPU; before heads, which finds the keys alone
    pm.addPass(createFuseAttend());
  if (options.heads) // after rope: it takes what a norm kept out of the epilogues
    pm.addPass(createFuseHeads());
  if (options.glu)
    pm.addPass(createFuseGlu());
  if (options.experts)
    pm.addPass(createFuseExperts());
  if (options.generic)
    pm.addPass(createFuseGeneric());
  if (options.argmax)
    pm.addPass(createFuseArgmax());
  if (options.round) // for a GPU
    pm.addPass(createRoundNormRows());
  if (options.forward) // for a GPU
    pm.addPass(createForwardKv());
  if (options.narrow) // last: it asks what is left of the readers
    pm.addPass(createNarrowActivations());
  pm.addPass(createCSEPass());
}

/// mk -> mk_task with a proved table.
static void buildPlanPipeline(OpPassManager &pm) {
  pm.addPass(createFormTasks());
  pm.addPass(createRecordRows());   // for a GPU
  pm.addPass(createOrderColumns()); // for a GPU
  pm.addPass(createTile());
  pm.addPass(createAssignWorkers());
  pm.addPass(createFlagBuffers()); // for a GPU
  pm.addPass(createJoinRanges());  // for a GPU
  pm.addPass(createSplitKinds());  // for a GPU
  pm.addPass(createPlanMemory());
  pm.addPass(createInferEvents()); // after memory: reused bytes are dependencies too
  pm.addPass(createElideEvents());
  pm.addPass(createPlanWeights());
  pm.addPass(createBuildTable());
  pm.addPass(createVerifySchedule());
}

/// mk_task -> mk_cta bodies, beside the program: the last that is added to it, for the package to
/// read.
static void buildKindsPipeline(OpPassManager &pm) { pm.addPass(createLowerKinds()); }

/// The table's loop in place of the program.
static void buildMainPipeline(OpPassManager &pm, const TraceOptions &options) {
  BuildMainOptions main;
  main.trace = options.trace;
  pm.addPass(createBuildMain(main));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

/// mk_task -> mk_cta.
static void buildCtaPipeline(OpPassManager &pm, const TraceOptions &options) {
  buildKindsPipeline(pm);
  buildMainPipeline(pm, options);
}

/// What is left beside mk_cta -> llvm: upstream's conversions.
static void addConversionsToLLVM(OpPassManager &pm) {
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertSCFToCFPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

/// mk_cta -> llvm, for the CPU.
static void buildCpuPipeline(OpPassManager &pm) {
  pm.addPass(createLowerMatmul());
  pm.addPass(createLowerCtaToLLVM());
  addConversionsToLLVM(pm);
  pm.addPass(createLegalizeBf16());
  pm.addPass(createCSEPass());
}

/// mk_task -> mk_cta bodies of CTAs, beside the program.
static void buildGpuKindsPipeline(OpPassManager &pm) { pm.addPass(createLowerGpuKinds()); }

/// The kernel in place of the program.
static void buildKernelPipeline(OpPassManager &pm, const TraceOptions &options) {
  BuildKernelOptions kernel;
  kernel.trace = options.trace;
  kernel.keep = true;
  pm.addPass(createBuildKernel(kernel));
  pm.addPass(createVerifyRing());
  if (options.trace)
    pm.addPass(createTimeRing());
  pm.addPass(createAddPacker());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

/// mk_cta -> llvm and nvvm, for a GPU.
static void buildGpuPipeline(OpPassManager &pm) {
  pm.addPass(createLowerCtaToNVVM());
  addConversionsToLLVM(pm);
  pm.addPass(createMarkKernels());
  pm.addPass(createCSEPass());
}

void mk::registerEverything(DialectRegistry &registry) {
  registry
      .insert<MkDialect, mk_task::MkTaskDialect, mk_cta::MkCtaDialect, arith::ArithDialect,
              cf::ControlFlowDialect, func::FuncDialect, LLVM::LLVMDialect, math::MathDialect,
              NVVM::NVVMDialect, memref::MemRefDialect, scf::SCFDialect, vector::VectorDialect>();
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
}

void mk::registerAllPassesAndPipelines() {
  registerMkPasses();
  registerTransformsPasses();
  // Upstream conversions by name: registering all of them would link targets that mk never sees.
  registerConvertVectorToLLVMPass();
  registerSCFToControlFlowPass();
  registerConvertMathToLLVMPass();
  registerFinalizeMemRefToLLVMConversionPass();
  registerConvertIndexToLLVMPass();
  registerArithToLLVMConversionPass();
  registerConvertFuncToLLVMPass();
  registerConvertControlFlowToLLVMPass();
  registerReconcileUnrealizedCastsPass();
  PassPipelineRegistration<ImportOptions>("mk-import-pipeline", "torch dialect to mk",
                                          buildImportPipeline);
  PassPipelineRegistration<FuseOptions>("mk-fuse-pipeline", "complete the step and fuse",
                                        buildFusePipeline);
  PassPipelineRegistration<>("mk-plan-pipeline", "mk to a proved table", buildPlanPipeline);
  PassPipelineRegistration<>("mk-kinds-pipeline", "kinds to bodies", buildKindsPipeline);
  PassPipelineRegistration<TraceOptions>(
      "mk-main-pipeline", "the table's loop instead of the program", buildMainPipeline);
  PassPipelineRegistration<TraceOptions>("mk-cta-pipeline", "both of these", buildCtaPipeline);
  PassPipelineRegistration<>("mk-gpu-kinds-pipeline", "kinds to bodies of CTAs",
                             buildGpuKindsPipeline);
  PassPipelineRegistration<TraceOptions>("mk-kernel-pipeline", "the table's kernel",
                                         buildKernelPipeline);
  PassPipelineRegistration<>("mk-gpu-pipeline", "bodies to llvm for a GPU", buildGpuPipeline);
  PassPipelineRegistration<>("mk-cpu-pipeline", "bodies to llvm for the CPU", buildCpuPipeline);
}
