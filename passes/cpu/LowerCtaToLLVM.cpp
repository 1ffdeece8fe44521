// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/cpu/Descriptor.h"
#include "passes/cpu/Dot.h"
#include "passes/cpu/TraceLine.h"

#include "dialects/mk/Mk.h"
#include "dialects/mk_cta/MkCta.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/Transforms/Approximation.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mk {
#define GEN_PASS_DEF_LOWERCTATOLLVM
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
/// Turns of a waiting loop before it asks the runtime to let another thread run: some microseconds,
/// longer than any wait of a schedule in balance.
constexpr int64_t kSpins = 4096;
constexpr int64_t kEventBytes = 64;

struct LowerCtaToLLVM : mk::impl::LowerCtaToLLVMBase<LowerCtaToLLVM> {
  StringRef features;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    TargetAttr target = requireTarget(module);
    if (!target)
      return signalPassFailure();
    features = target.getFeatures();

    // Contexts and instructions are pointers; from here on operands are read by number, since the
    // ops' own accessors would insist on the types that no longer exist.
    AttrTypeReplacer replacer;
    auto pointer = LLVM::LLVMPointerType::get(&getContext());
    replacer.addReplacement([&](mk_cta::ContextType) -> std::optional<Type> { return pointer; });
    replacer.addReplacement(
        [&](mk_cta::InstructionType) -> std::optional<Type> { return pointer; });
    replacer.recursivelyReplaceElementsIn(module, /*replaceAttrs=*/true, /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);

    SmallVector<Operation *> ops;
    module.walk([&](Operation *op) {
      if (isa<mk_cta::MkCtaDialect>(op->getDialect()))
        ops.push_back(op);
    });
    for (Operation *op : ops)
      if (failed(lower(op)))
        return signalPassFailure();

    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(
        patterns); // math.log of mk.sample; nothing else matches
    if (failed(applyPatternsAndFoldGreedily(module, std::move(patterns))))
      return signalPassFailure();

    for (auto function : module.getOps<func::FuncOp>()) {
      SmallVector<Attribute> attributes;
      auto add = [&](StringRef name, StringRef value) {
        attributes.push_back(
            ArrayAttr::get(&getContext(), {StringAttr::get(&getContext(), name),
                                           StringAttr::get(&getContext(), value)}));
      };
      // Explicit vectors are as wide as they should be: LLVM shall not split them on processors
      // where it prefers narrower ones for its own vectorisation.
      add("prefer-vector-width", "512");
      add("min-legal-vector-width", "512");
      if (function.isPrivate()) {
        attributes.push_back(StringAttr::get(&getContext(), "noinline"));
        function->setAttr("llvm.linkage",
                          LLVM::LinkageAttr::get(&getContext(), LLVM::Linkage::Internal));
      }
      function->setAttr("passthrough", ArrayAttr::get(&getContext(), attributes));
    }
  }

  LogicalResult lower(Operation *op) {
    CodeBuilder b(op->getLoc(), op);
    Value result;
    bool known =
        llvm::TypeSwitch<Operation *, bool>(op)
            .Case([&](mk_cta::ContextWordOp word) {
              result = toIndex(b, loadWord(b, word->getOperand(0), word.getName(), b.getI64Type()));
              return true;
            })
            .Case([&](mk_cta::InstructionOp) {
              result = instruction(b, op->getOperand(0), op->getOperand(1), op->getOperand(2));
              return true;
            })
            .Case([&](mk_cta::FieldOp field) {
              int64_t word = mk_cta::instructionField(field.getName()) + int64_t(field.getIndex());
              Value raw = b.create<LLVM::LoadOp>(
                  b.getI32Type(), byte(b, op->getOperand(0), b.integer(word * 4, 64)));
              result = toIndex(b, b.create<arith::ExtSIOp>(b.getI64Type(), raw));
              return true;
            })
            .Case([&](mk_cta::ViewOp view) {
              result = this->view(b, view);
              return true;
            })
            .Case([&](mk_cta::DotOp dot) {
              result = emitDot(b, dot, features);
              return true;
            })
            .Case([&](mk_cta::WaitOp) {
              Value context = op->getOperand(0), event = op->getOperand(2);
              spin(b, context, op->getOperand(1), event, counter(b, context, event),
                   op->getOperand(3));
              return true;
            })
            .Case([&](mk_cta::AwaitStepOp) {
              Value context = op->getOperand(0);
              spin(b, context, op->getOperand(1), b.index(-1), word(b, context, "step"),
                   op->getOperand(2));
              return true;
            })
            .Case([&](mk_cta::SignalOp) {
              increment(b, counter(b, op->getOperand(0), op->getOperand(1)));
              return true;
            })
            .Case([&](mk_cta::PublishStepOp) {
              increment(b, word(b, op->getOperand(0), "step"));
              return true;
            })
            .Case([&](mk_cta::TraceLineOp) {
              auto load = [&](StringRef name) {
                return loadWord(b, op->getOperand(0), name, b.getI64Type());
              };
              result = traceLine(b, load("trace"), load("instructions"), op->getOperand(1),
                                 op->getOperand(2), op->getOperand(3));
              return true;
            })
            .Case([&](mk_cta::StampOp stamp) {
              Value value = stamp.getValue();
              if (!value)
                value = b.create<LLVM::CallIntrinsicOp>(
                             b.getI64Type(), b.getStringAttr("llvm.readcyclecounter"), ValueRange())
                            .getResult(0);
              Value place = toI64(b, b.add(stamp.getLine(), int64_t(stamp.getWhich()) * 8));
              auto pointer = LLVM::LLVMPointerType::get(&getContext());
              b.create<LLVM::StoreOp>(value, b.create<LLVM::IntToPtrOp>(pointer, place));
              return true;
            })
            .Case([&](mk_cta::PostOp post) {
              Value base = b.create<memref::ExtractAlignedPointerAsIndexOp>(post.getMemory());
              Value address = b.add(base, b.mul(post.getPosition(), 8));
              Value pointer = b.create<LLVM::IntToPtrOp>(LLVM::LLVMPointerType::get(&getContext()),
                                                         toI64(b, address));
              b.create<LLVM::StoreOp>(post.getValue(), pointer, /*alignment=*/8,
                                      /*isVolatile=*/false,
                                      /*isNonTemporal=*/false, LLVM::AtomicOrdering::release);
              return true;
            })
            .Default([](Operation *) { return false; });
    if (!known)
      return op->emitOpError("has no lowering to llvm: expected it to be gone before this pass");
    if (result)
      op->getResult(0).replaceAllUsesWith(result);
    op->erase();
    return success();
  }

  static Value toI64(CodeBuilder &b, Value index) {
    return b.create<arith::IndexCastOp>(b.getI64Type(), index);
  }
  static Value toIndex(CodeBuilder &b, Value i64) {
    return b.create<arith::IndexCastOp>(b.getIndexType(), i64);
  }

  static Value byte(CodeBuilder &b, Value base, Value offset) {
    return b.create<LLVM::GEPOp>(base.getType(), b.getI8Type(), base,
                                 ArrayRef<LLVM::GEPArg>{offset});
  }
  static Value word(CodeBuilder &b, Value context, StringRef name) {
    return byte(b, context, b.integer(mk_cta::contextField(name) * 8, 64));
  }
  static Value loadWord(CodeBuilder &b, Value context, StringRef name, Type type) {
    return b.create<LLVM::LoadOp>(type, word(b, context, name));
  }
  static Value counter(CodeBuilder &b, Value context, Value event) {
    Value events = loadWord(b, context, "events", context.getType());
    return byte(b, events, toI64(b, b.mul(event, kEventBytes)));
  }
  static void increment(CodeBuilder &b, Value address) {
    b.create<LLVM::AtomicRMWOp>(LLVM::AtomicBinOp::add, address, b.integer(1, 64),
                                LLVM::AtomicOrdering::release);
  }

  static Value instruction(CodeBuilder &b, Value context, Value worker, Value number) {
    Value table = loadWord(b, context, "table", context.getType());
    Value perWorker = toIndex(b, loadWord(b, context, "instructions", b.getI64Type()));
    Value place = b.mul(b.add(b.mul(worker, perWorker), number), 32 * 4);
    return byte(b, table, toI64(b, place));
  }

  /// A memref descriptor with the static sizes and strides of the type; a dynamic first size is
  /// never read.
  Value view(CodeBuilder &b, mk_cta::ViewOp op) {
    auto type = cast<MemRefType>(op->getResult(0).getType());
    Value context = op->getOperand(0);
    Value pointer = byte(b, loadWord(b, context, op.getArena(), context.getType()),
                         toI64(b, op->getOperand(1)));
    return makeDescriptor(b, type, pointer);
  }

  /// Spins until the 64-bit word is at least the target; see mk_cta.wait for the memory order.
  void spin(CodeBuilder &b, Value context, Value worker, Value event, Value address, Value target) {
    Value wanted = toI64(b, target);
    b.loopWhile(
        b.index(0),
        [&](ValueRange) -> Value {
          Value now = b.create<LLVM::LoadOp>(
              b.getI64Type(), address, /*alignment=*/8, /*isVolatile=*/false,
              /*isNonTemporal=*/false, /*isInvariant=*/false, LLVM::AtomicOrdering::acquire);
          return b.create<arith::CmpIOp>(arith::CmpIPredicate::ult, now, wanted);
        },
        [&](ValueRange carried) {
          if (features.contains("avx")) // any x86 that mk compiles for
            b.create<LLVM::CallIntrinsicOp>(TypeRange(), b.getStringAttr("llvm.x86.sse2.pause"),
                                            ValueRange());
          Value overdue =
              b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, carried[0], b.index(kSpins));
          b.when(overdue, [&] {
            auto i32 = b.getI32Type();
            auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(&getContext()),
                                                    {context.getType(), i32, i32});
            Value hook = loadWord(b, context, "yield", context.getType());
            b.create<LLVM::CallOp>(type,
                                   ValueRange{hook, context, b.toI32(worker), b.toI32(event)});
          });
          return SmallVector<Value>{b.add(carried[0], 1)};
        });
  }
};
} // namespace
