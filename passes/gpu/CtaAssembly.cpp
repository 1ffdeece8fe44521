// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/CtaAssembly.h"

#include "dialects/mk_task/MkTask.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::mk;

static constexpr int64_t kInstructionBytes = 128;

Value mk::toI64(GpuBuilder &b, Value index) {
  return b.create<arith::IndexCastOp>(b.getI64Type(), index);
}

Value mk::assembly(GpuBuilder &b, Type type, StringRef text, StringRef constraints,
                   ValueRange operands) {
  std::string all = constraints.str();
  all += all.empty() ? "~{memory}" : ",~{memory}";
  auto op = b.create<LLVM::InlineAsmOp>(
      type ? TypeRange(type) : TypeRange(), operands, text, all, /*has_side_effects=*/true,
      /*is_align_stack=*/false, LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT),
      /*operand_attrs=*/ArrayAttr());
  return type ? op.getResult(0) : Value();
}

Value mk::loadWords(GpuBuilder &b, int64_t count, StringRef text, StringRef from, Value address) {
  auto type =
      LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(count, b.getI32Type()));
  std::string constraints;
  for (int64_t i = 0; i < count; ++i)
    constraints += "=r,";
  Value words = assembly(b, type, text, constraints + from.str(), {address});
  SmallVector<Value> elements;
  for (int64_t i = 0; i < count; ++i)
    elements.push_back(b.create<LLVM::ExtractValueOp>(words, ArrayRef<int64_t>{i}));
  return b.pack(elements);
}

Value mk::global(GpuBuilder &b, Value address) {
  return b.create<LLVM::IntToPtrOp>(LLVM::LLVMPointerType::get(b.getContext(), kGlobal), address);
}

Value mk::loadWord(GpuBuilder &b, Value context, StringRef name) {
  Value address = b.create<LLVM::GEPOp>(
      context.getType(), b.getI8Type(), context,
      ArrayRef<LLVM::GEPArg>{LLVM::GEPArg(int32_t(mk_cta::contextField(name) * 8))});
  return b.create<LLVM::LoadOp>(b.getI64Type(), address, /*alignment=*/8, /*isVolatile=*/false,
                                /*isNonTemporal=*/false, /*isInvariant=*/true);
}

Value mk::instruction(GpuBuilder &b, Value context, Value worker, Value number) {
  Value perWorker = b.toIndex(loadWord(b, context, "instructions"));
  Value lane = b.rem(b.thread(), 32);
  Value place =
      b.add(b.mul(b.add(b.mul(worker, perWorker), number), kInstructionBytes), b.mul(lane, 4));
  Value address = b.create<arith::AddIOp>(loadWord(b, context, "table"), toI64(b, place));
  return b.create<LLVM::LoadOp>(b.getI32Type(), global(b, address), /*alignment=*/4,
                                /*isVolatile=*/false, /*isNonTemporal=*/false,
                                /*isInvariant=*/true);
}

Value mk::element(GpuBuilder &b, Value memory, Value i) {
  auto type = cast<MemRefType>(memory.getType());
  int64_t bytes = type.getElementTypeBitWidth() / 8;
  for (int64_t size : type.getShape().drop_front())
    bytes *= size;
  Value base = b.create<memref::ExtractAlignedPointerAsIndexOp>(memory);
  return b.toI32(b.add(base, b.mul(i, bytes)));
}

Value mk::address(GpuBuilder &b, Value memory, ValueRange indices) {
  auto type = cast<MemRefType>(memory.getType());
  SmallVector<int64_t> strides;
  int64_t offset, bytes = 4;
  if (auto vector = dyn_cast<VectorType>(type.getElementType()))
    bytes *= vector.getNumElements();
  (void)getStridesAndOffset(type, strides, offset);
  Value place = b.index(0);
  for (auto [index, stride] : llvm::zip_equal(indices, strides))
    place = b.add(place, b.mul(index, stride * bytes));
  Value base = b.create<memref::ExtractAlignedPointerAsIndexOp>(memory);
  return toI64(b, b.wideAdd(base, place));
}

Value mk::loadFlagged(GpuBuilder &b, mk_cta::LoadFlaggedOp op) {
  Value from = address(b, op.getMemory(), op.getIndices());
  auto vector = dyn_cast<VectorType>(op.getResult().getType());
  if (!vector)
    return assembly(b, b.getI32Type(), "ld.relaxed.gpu.global.u32 $0, [$1];", "=r,l", {from});
  if (vector.getNumElements() == 4)
    return loadWords(b, 4, "ld.relaxed.gpu.global.v4.u32 {$0, $1, $2, $3}, [$4];", "l", from);
  return loadWords(b, 2, "ld.relaxed.gpu.global.v2.u32 {$0, $1}, [$2];", "l", from);
}

static Value clock(GpuBuilder &b) {
  return assembly(b, b.getI64Type(), "mov.u64 $0, %globaltimer;", "=l", {});
}

/// Writes the worker's line of the stall block.
static void reportStall(GpuBuilder &b, Value context, Value worker, Value number, Value event,
                        Value seen) {
  Value line = b.create<arith::AddIOp>(loadWord(b, context, "stall"), toI64(b, b.mul(worker, 32)));
  assembly(b, Type(),
           "st.relaxed.sys.global.u64 [$0+8], $1; st.relaxed.sys.global.u64 [$0+16], $2; "
           "st.relaxed.sys.global.u64 [$0+24], $3; st.release.sys.global.u64 [$0], 1;",
           "l,l,l,l", {line, toI64(b, number), toI64(b, event), seen});
}

std::pair<Value, Value> mk::lookAgain(GpuBuilder &b, LookAgain look) {
  auto compare = [&](arith::CmpIPredicate predicate, Value x, Value y) -> Value {
    return b.create<arith::CmpIOp>(predicate, x, y);
  };
  Value zero = b.integer(0, 64), limit = loadWord(b, look.context, "stall_ns"), now = clock(b);
  if (look.patient)
    limit = b.create<arith::AddIOp>(limit, limit);
  Value since = b.select(b.equal(look.begin, zero), now, look.begin);
  Value late = compare(arith::CmpIPredicate::ugt, b.create<arith::SubIOp>(now, since), limit);
  late = b.both(late, compare(arith::CmpIPredicate::ne, limit, zero));
  Value flag = element(b, look.overdue, b.index(0));
  b.when(late, [&] {
    reportStall(b, look.context, look.worker, look.number, b.index(-2), zero);
    assembly(b, Type(), "st.volatile.shared.u32 [$0], 1;", "r", {flag});
  });
  Value given = assembly(b, b.getI32Type(), "ld.volatile.shared.u32 $0, [$1];", "=r,r", {flag});
  return {since, b.equal(given, b.integer(0))};
}

Value mk::awaitPredicate(GpuBuilder &b, mk_cta::AwaitPredicateOp op) {
  // Operands by number: the accessor insists on the context's type.
  Value context = op->getOperand(2), zero = b.integer(0);
  Value offset = b.wideMul(op.getPlace(), mk_task::kAlignment);
  Value ofCopy = b.toIndex(loadWord(b, context, "flagged"));
  Value isFirst = b.equal(b.rem(op.getStep(), 2), b.index(0));
  offset = b.wideAdd(offset, b.select(isFirst, b.index(0), ofCopy));
  Value address = b.create<arith::AddIOp>(loadWord(b, context, "activations"), toI64(b, offset));
  auto load = [&]() -> Value {
    return assembly(b, b.getI32Type(), "ld.relaxed.gpu.global.u32 $0, [$1];", "=r,l", {address});
  };
  auto ballot = [&](Value which) -> Value {
    Value all = b.create<NVVM::VoteBallotOp>(b.getI32Type(), b.integer(-1), which);
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, all, zero);
  };
  auto isMissing = [&](Value word) { return b.equal(word, b.integer(-1)); };
  // Carried: the word, when the wait began, and whether to go on.
  SmallVector<Value> state = {load(), b.integer(0, 64), b.integer(1, 1)};
  state = b.loopWhile(
      state, [&](ValueRange at) { return ballot(b.both(isMissing(at[0]), at[2])); },
      [&](ValueRange at) {
        auto [since, again] = lookAgain(
            b, {context, op.getWorker(), op.getNumber(), op.getOverdue(), at[1], op.getPatient()});
        return SmallVector<Value>{load(), since, again};
      });
  // Of a float all bits but the sign: any number but 0 is a yes, as for mk.choose.
  Value magnitude = b.createOrFold<arith::AndIOp>(state[0], b.integer(INT32_MAX));
  Value yes = ballot(b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, magnitude, zero));
  Value side = b.create<arith::ExtUIOp>(b.getI32Type(), yes);
  return b.select(ballot(isMissing(state[0])), b.integer(-1), side);
}

Value mk::poll(GpuBuilder &b, Operation *op) {
  Value context = op->getOperand(0), worker = op->getOperand(1), number = op->getOperand(2),
        event = op->getOperand(3), target = toI64(b, op->getOperand(4)),
        hint = b.create<arith::ExtUIOp>(b.getI32Type(), op->getOperand(5));
  Type i64 = b.getI64Type();
  Value ofSteps = b.less(event, b.index(0));
  Value counter =
      b.create<arith::AddIOp>(loadWord(b, context, "events"), toI64(b, b.mul(event, kEventBytes)));
  Value place = b.select(ofSteps, loadWord(b, context, "step"), counter);
  Value zero = b.integer(0, 64), limit = loadWord(b, context, "stall_ns");
  auto look = [&]() -> Value {
    return assembly(b, i64,
                    "{ .reg .pred done, hint; .reg .u32 left; setp.ne.u32 hint, $3, 0; "
                    "mov.u32 left, 4096; again: @hint ld.relaxed.gpu.global.u64 $0, [$1]; "
                    "@!hint ld.acquire.gpu.global.u64 $0, [$1]; setp.ge.u64 done, $0, $2; "
                    "@done bra out; sub.u32 left, left, 1; setp.eq.u32 done, left, 0; "
                    "@!done bra again; out: }",
                    "=&l,l,l,r", {place, target, hint});
  };
  auto compare = [&](arith::CmpIPredicate predicate, Value x, Value y) -> Value {
    return b.create<arith::CmpIOp>(predicate, x, y);
  };
  // Carried: what was seen, when the first look ended, and whether the time is up.
  SmallVector<Value> state = {look(), zero, b.integer(0, 1)};
  state = b.loopWhile(
      state,
      [&](ValueRange at) -> Value {
        Value early = compare(arith::CmpIPredicate::ult, at[0], target);
        return b.both(early, b.equal(at[2], b.integer(0, 1)));
      },
      [&](ValueRange at) {
        Value now = clock(b);
        Value begin = b.select(b.equal(at[1], zero), now, at[1]);
        Value late = compare(arith::CmpIPredicate::ugt, b.create<arith::SubIOp>(now, begin), limit);
        Value limited = compare(arith::CmpIPredicate::ne, limit, zero);
        return SmallVector<Value>{look(), begin, b.both(late, limited)};
      });
  Value arrived = compare(arith::CmpIPredicate::uge, state[0], target);
  b.when(b.equal(arrived, b.integer(0, 1)),
         [&] { reportStall(b, context, worker, number, event, state[0]); });
  return arrived;
}
