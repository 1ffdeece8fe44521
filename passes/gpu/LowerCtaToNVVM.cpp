// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/cpu/Descriptor.h"
#include "passes/cpu/TraceLine.h"
#include "passes/gpu/RingAssembly.h"

#include "dialects/mk_cta/MkCta.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mk {
#define GEN_PASS_DEF_LOWERCTATONVVM
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
constexpr llvm::StringLiteral kSharedName = "mk_shared";

struct LowerCtaToNVVM : mk::impl::LowerCtaToNVVMBase<LowerCtaToNVVM> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    MLIRContext *context = &getContext();
    // The context is passed by value: its words are constants of the launch. An instruction is
    // spread over the lanes of a warp, a word in each.
    AttrTypeReplacer replacer;
    auto pointer = LLVM::LLVMPointerType::get(context);
    auto i32 = IntegerType::get(context, 32);
    replacer.addReplacement([&](mk_cta::ContextType) -> std::optional<Type> { return pointer; });
    replacer.addReplacement([&](mk_cta::InstructionType) -> std::optional<Type> { return i32; });
    replacer.recursivelyReplaceElementsIn(module, /*replaceAttrs=*/true, /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
    OpBuilder top = OpBuilder::atBlockBegin(module.getBody());
    auto bytes = LLVM::LLVMArrayType::get(IntegerType::get(context, 8), 0);
    top.create<LLVM::GlobalOp>(module.getLoc(), bytes, /*isConstant=*/false,
                               LLVM::Linkage::External, kSharedName, Attribute(),
                               /*alignment=*/1024, kShared);

    SmallVector<Operation *> ops;
    module.walk([&](Operation *op) {
      if (isa<mk_cta::MkCtaDialect>(op->getDialect()))
        ops.push_back(op);
    });
    for (Operation *op : ops)
      if (failed(lower(op)))
        return signalPassFailure();

    RewritePatternSet patterns(context);
    populateMathPolynomialApproximationPatterns(patterns); // math.log of mk.sample
    if (failed(applyPatternsAndFoldGreedily(module, std::move(patterns))))
      return signalPassFailure();

    auto words =
        LLVM::LLVMArrayType::get(IntegerType::get(context, 64), mk_cta::contextField("words"));
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function.isPrivate()) {
        // One kernel, one allocation of registers: everything becomes part of it.
        function->setAttr("passthrough",
                          ArrayAttr::get(context, {StringAttr::get(context, "alwaysinline")}));
        function->setAttr("llvm.linkage", LLVM::LinkageAttr::get(context, LLVM::Linkage::Internal));
      } else if (function.getName().starts_with("mk_main")) {
        function.setArgAttr(0, LLVM::LLVMDialect::getByValAttrName(), TypeAttr::get(words));
        function.setArgAttr(0, LLVM::LLVMDialect::getAlignAttrName(),
                            IntegerAttr::get(IntegerType::get(context, 64), 8));
      }
    }
  }

  LogicalResult lower(Operation *op) {
    GpuBuilder b(op->getLoc(), op);
    RingAssembly ring(b, getOperation()->getAttrOfType<TargetAttr>("mk.target"));
    auto operand = [&](unsigned i) { return op->getOperand(i); };
    Value result;
    bool known =
        llvm::TypeSwitch<Operation *, bool>(op)
            .Case([&](mk_cta::ContextWordOp word) {
              result = b.toIndex(loadWord(b, operand(0), word.getName()));
              return true;
            })
            .Case([&](mk_cta::StepOp) {
              Value address = global(b, loadWord(b, operand(0), "step"));
              result = b.toIndex(b.create<LLVM::LoadOp>(b.getI64Type(), address));
              return true;
            })
            .Case([&](mk_cta::InstructionOp) {
              result = instruction(b, operand(0), operand(1), operand(2));
              return true;
            })
            .Case([&](mk_cta::FieldOp field) {
              int64_t word = mk_cta::instructionField(field.getName()) + int64_t(field.getIndex());
              Value raw =
                  b.create<NVVM::ShflOp>(b.getI32Type(), b.integer(-1), operand(0), b.integer(word),
                                         b.integer(31), NVVM::ShflKind::idx, UnitAttr());
              result = b.toIndex(b.create<arith::ExtSIOp>(b.getI64Type(), raw));
              return true;
            })
            .Case([&](mk_cta::ViewOp view) {
              Value base = b.create<arith::AddIOp>(loadWord(b, operand(0), view.getArena()),
                                                   toI64(b, operand(1)));
              result =
                  makeDescriptor(b, cast<MemRefType>(op->getResult(0).getType()), global(b, base));
              return true;
            })
            .Case([&](mk_cta::SharedOp shared) {
              auto type = LLVM::LLVMPointerType::get(&getContext(), kShared);
              Value base = b.create<LLVM::AddressOfOp>(type, kSharedName);
              Value address = b.create<LLVM::GEPOp>(
                  type, b.getI8Type(), base,
                  ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(shared.getOffset()))});
              result = makeDescriptor(b, cast<MemRefType>(op->getResult(0).getType()), address);
              return true;
            })
            .Case([&](mk_cta::ThreadOp) {
              Value number = assembly(b, b.getI32Type(), "mov.u32 $0, %tid.x;", "=r", {});
              result = b.toIndex(b.create<arith::ExtUIOp>(b.getI64Type(), number));
              return true;
            })
            .Case([&](mk_cta::PollOp) {
              result = poll(b, op);
              return true;
            })
            .Case([&](mk_cta::ArriveOp) {
              Value events = loadWord(b, operand(0), "events");
              Value place =
                  b.create<arith::AddIOp>(events, toI64(b, b.mul(operand(1), kEventBytes)));
              assembly(b, Type(),
                       "{ .reg .pred hint; setp.ne.u32 hint, $1, 0; "
                       "@hint red.relaxed.gpu.global.add.u64 [$0], 1; "
                       "@!hint red.release.gpu.global.add.u64 [$0], 1; }",
                       "l,r", {place, b.create<arith::ExtUIOp>(b.getI32Type(), operand(2))});
              return true;
            })
            .Case([&](mk_cta::PublishStepOp) {
              assembly(b, Type(), "red.release.gpu.global.add.u64 [$0], 1;", "l",
                       {loadWord(b, operand(0), "step")});
              return true;
            })
            .Case([&](mk_cta::LoadFlaggedOp load) {
              result = loadFlagged(b, load);
              return true;
            })
            .Case([&](mk_cta::StoreFlaggedOp store) {
              Value none = b.equal(store.getWord(), b.integer(-1));
              Value word = b.select(none, b.integer(INT32_MAX), store.getWord());
              assembly(b, Type(), "st.relaxed.gpu.global.u32 [$0], $1;", "l,r",
                       {address(b, store.getMemory(), store.getIndices()), word});
              return true;
            })
            .Case([&](mk_cta::ClearFlaggedOp clear) {
              assembly(b, Type(), "st.relaxed.gpu.global.u32 [$0], $1;", "l,r",
                       {address(b, clear.getMemory(), clear.getIndices()), b.integer(-1)});
              return true;
            })
            .Case([&](mk_cta::LookAgainOp look) {
              auto [since, again] = lookAgain(b, {operand(0), operand(1), operand(2), operand(3),
                                                  operand(4), look.getPatient()});
              op->getResult(1).replaceAllUsesWith(again);
              result = since;
              return true;
            })
            .Case([&](mk_cta::AwaitPredicateOp await) {
              result = awaitPredicate(b, await);
              return true;
            })
            .Case([&](mk_cta::PostOp post) {
              Value base = b.create<memref::ExtractAlignedPointerAsIndexOp>(post.getMemory());
              Value address = toI64(b, b.wideAdd(base, b.mul(post.getPosition(), 8)));
              assembly(b, Type(), "st.release.sys.global.u64 [$0], $1;", "l,l",
                       {address, post.getValue()});
              return true;
            })
            .Case([](mk_cta::RingHoldsOp) { return true; })
            .Case([&](mk_cta::RingInitOp init) {
              ring.init(init);
              return true;
            })
            .Case([&](mk_cta::RingReleaseOp release) {
              ring.release(release);
              return true;
            })
            .Case([&](mk_cta::RingCopyOp copy) {
              ring.copy(copy);
              return true;
            })
            .Case([&](mk_cta::RingAnnounceOp announce) {
              ring.announce(announce);
              return true;
            })
            .Case([&](mk_cta::ProxyFenceOp fence) {
              ring.proxyFence(fence);
              return true;
            })
            .Case([&](mk_cta::RingAwaitOp await) {
              result = ring.await(await);
              return true;
            })
            .Case([&](mk_cta::FragmentOp fragment) {
              Value slot = element(b, fragment.getRing(), fragment.getSlot());
              Value place = b.toI32(b.mul(fragment.getPlace(), 16));
              result = loadWords(b, 4, "ld.shared.v4.u32 {$0, $1, $2, $3}, [$4];", "r",
                                 b.addI32(slot, place));
              return true;
            })
            .Case([&](mk_cta::TraceLineOp) {
              result = traceLine(b, loadWord(b, operand(0), "trace"),
                                 loadWord(b, operand(0), "instructions"), operand(1), operand(2),
                                 operand(3));
              return true;
            })
            .Case([&](mk_cta::StampOp stamp) {
              Value address =
                  toI64(b, b.wideAdd(operand(0), b.index(int64_t(stamp.getWhich()) * 8)));
              if (stamp.getValue()) {
                b.create<LLVM::StoreOp>(stamp.getValue(), global(b, address));
                return true;
              }
              assembly(b, Type(),
                       "{ .reg .u64 now; mov.u64 now, %globaltimer; "
                       "st.relaxed.gpu.global.u64 [$0], now; }",
                       "l", {address});
              return true;
            })
            .Case([&](mk_cta::RingFillOp fill) {
              ring.fill(fill);
              return true;
            })
            .Case([&](mk_cta::TellOp tell) {
              Value count = b.addI32(b.toI32(tell.getNumber()), b.integer(1));
              assembly(b, Type(), "st.release.cta.shared.u32 [$0], $1;", "r,r",
                       {element(b, tell.getWord(), b.index(0)), count});
              return true;
            })
            .Case([&](mk_cta::AwaitToldOp await) {
              result = ring.awaitTold(await);
              return true;
            })
            .Case([&](mk_cta::TransposedOp load) {
              Value slot = element(b, load.getRing(), load.getSlot());
              Value place = b.toI32(b.mul(load.getPlace(), 16));
              result = loadWords(b, 4,
                                 "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
                                 "{$0, $1, $2, $3}, [$4];",
                                 "r", b.addI32(slot, place));
              return true;
            })
            .Case([&](mk_cta::MmaOp mma) {
              SmallVector<Value> operands;
              for (Value vector : {mma.getA(), mma.getB(), mma.getAcc()})
                for (int64_t i = 0; i < cast<VectorType>(vector.getType()).getNumElements(); ++i)
                  operands.push_back(b.element(vector, i));
              auto four = LLVM::LLVMStructType::getLiteral(&getContext(),
                                                           SmallVector<Type>(4, b.getF32Type()));
              Value sums =
                  b.create<LLVM::CallIntrinsicOp>(
                       four, b.getStringAttr("llvm.nvvm.mma.m16n8k16.row.col.bf16"), operands)
                      .getResult(0);
              SmallVector<Value> elements;
              for (int64_t i = 0; i < 4; ++i)
                elements.push_back(b.create<LLVM::ExtractValueOp>(sums, ArrayRef<int64_t>{i}));
              result = b.pack(elements);
              return true;
            })
            .Default([](Operation *) { return false; });
    if (!known)
      return op->emitOpError("has no lowering to nvvm: expected it to be gone before this pass");
    if (result)
      op->getResult(0).replaceAllUsesWith(result);
    op->erase();
    return success();
  }
};
} // namespace
