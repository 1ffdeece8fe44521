// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/gpu/GpuEmitter.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace mlir::mk {
#define GEN_PASS_DEF_LOWERGPUKINDS
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
struct LowerGpuKinds : mk::impl::LowerGpuKindsBase<LowerGpuKinds> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    FailureOr<TargetAttr> target = requireTarget(module);
    FailureOr<OptionsAttr> options = requireOptions(module);
    if (failed(target) || failed(options))
      return signalPassFailure();
    if (!target->isGpu()) {
      module.emitError() << "expected a gpu in the module attribute mk.target, found " << *target;
      return signalPassFailure();
    }
    if (!target->getMmaBf16()) {
      module.emitError() << "expected tensor cores that multiply bf16, found " << *target;
      return signalPassFailure();
    }
    // ptxas counts a thread's registers for warps in groups of four, as the registers are.
    if (int64_t least = llvm::alignTo(threadsOf(*target), 128) * kFirstRegisters;
        target->getRegisters() < least) {
      module.emitError() << "expected " << least << " registers for " << threadsOf(*target)
                         << " threads, found " << target->getRegisters();
      return signalPassFailure();
    }
    if (options->getMaxTokens() > kMaxRows) {
      module.emitError() << "expected at most " << kMaxRows
                         << " tokens of a step on a gpu, found max_tokens = "
                         << options->getMaxTokens();
      return signalPassFailure();
    }
    for (auto program : module.getOps<mk_task::ProgramOp>()) {
      SharedLayout layout(program, *target);
      if (layout.stages < 2) {
        program.emitOpError() << "expected shared memory for a ring of 2 slots of " << kSlotBytes
                              << " bytes behind " << layout.ring << ", found "
                              << target->getShared();
        return signalPassFailure();
      }
      if (failed(checkConditions(program)))
        return signalPassFailure();
      for (auto kind : program.getOps<mk_task::KindOp>()) {
        if (failed(lower(program, kind, layout, options->getMaxTokens())))
          return signalPassFailure();
        if (hasKernelOfFew(*options) && dependsOnRows(kind) &&
            failed(lower(program, kind, layout, kGroupRows)))
          return signalPassFailure();
        if (clearsWhenPassed(program, kind) &&
            failed(lowerPassed(program, kind, layout, options->getMaxTokens())))
          return signalPassFailure();
      }
      program.setScratch(layout.bytes());
    }
  }

  /// Loader and consumers wait for the words of predicates.
  LogicalResult checkConditions(mk_task::ProgramOp program) {
    for (auto family : program.getOps<mk_task::FamilyOp>())
      if (ArrayAttr conditions = family.getConditionsAttr())
        for (auto condition : conditions.getAsRange<mk_task::ConditionAttr>())
          if (auto buffer = dyn_cast_or_null<mk_task::BufferOp>(
                  SymbolTable::lookupSymbolIn(program, condition.getBuffer()));
              !buffer || !buffer.getFlagged())
            return emitError(family.getLoc())
                   << family.getSymNameAttr() << " has a condition on " << condition.getBuffer()
                   << ", which does not say itself that it is there: expected a flagged buffer";
    return success();
  }

  /// A function that is given what every body is, and what it knows by that.
  std::pair<func::FuncOp, GpuFrame> begin(GpuBuilder &b, StringRef name, TypeRange results) {
    b.setInsertionPointToEnd(getOperation().getBody());
    Type index = b.getIndexType(), i32 = b.getI32Type();
    auto type =
        b.getFunctionType({b.getType<mk_cta::ContextType>(), b.getType<mk_cta::InstructionType>(),
                           index, index, index, index, index, i32, i32, i32},
                          results);
    auto function = b.create<func::FuncOp>(name, type);
    function.setPrivate();
    Block *entry = function.addEntryBlock();
    b.setInsertionPointToStart(entry);
    auto argument = [&](unsigned i) { return entry->getArgument(i); };
    return {function, GpuFrame{argument(0),
                               argument(1),
                               argument(2),
                               argument(3),
                               argument(4),
                               argument(5),
                               argument(6),
                               {argument(7), argument(8), argument(9)}}};
  }

  /// For steps in which the conditions of a family of the kind do not hold.
  LogicalResult lowerPassed(mk_task::ProgramOp program, mk_task::KindOp kind, SharedLayout layout,
                            int64_t most) {
    GpuBuilder b(kind.getLoc(), &getContext());
    auto [function, frame] = begin(b, getPassedName(kind), {});
    if (failed(GpuEmitter(b, program, kind, layout, frame, most).emitPassed()))
      return failure();
    b.create<func::ReturnOp>();
    return success();
  }

  /// For steps of at most `most` tokens.
  LogicalResult lower(mk_task::ProgramOp program, mk_task::KindOp kind, SharedLayout layout,
                      int64_t most) {
    if (!kind.getUnits())
      return kind.emitOpError("expects its work units: run mk-tile before");
    GpuBuilder b(kind.getLoc(), &getContext());
    Type i32 = b.getI32Type();
    auto [function, frame] = begin(b, getBodyName(kind, most), {i32, i32, i32});
    FailureOr<RingPlace> ring = GpuEmitter(b, program, kind, layout, frame, most).emit();
    if (failed(ring))
      return failure();
    b.create<func::ReturnOp>(ring->values());
    return success();
  }
};
} // namespace
