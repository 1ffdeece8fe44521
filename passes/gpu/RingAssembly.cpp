// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/RingAssembly.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::mk;
using mk_cta::RingWait;

static constexpr int64_t kLanes = 32, kPieceBytes = 16;

void RingAssembly::init(mk_cta::RingInitOp op) {
  auto type = cast<MemRefType>(op.getFull().getType());
  for (int64_t slot = 0; slot < type.getDimSize(0); ++slot) {
    auto one = [&](Value barriers, int64_t arrivals) {
      assembly(b, Type(), "mbarrier.init.shared::cta.b64 [$0], $1;", "r,r",
               {element(b, barriers, b.index(slot)), b.integer(arrivals)});
    };
    one(op.getFull(), bulk ? 1 : kLanes);
    one(op.getEmpty(), op.getConsumers());
  }
  if (bulk)
    assembly(b, Type(), "fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;", "",
             {});
}

//===----------------------------------------------------------------------===//
// Waits
//===----------------------------------------------------------------------===//

namespace {
/// The text of a wait in a CTA, and its operands by number: $0 is whether what was waited for came.
/// The consumers' waits for a slot are the kernel's hot ones: the loader has the clock for them.
struct Wait {
  GpuBuilder &b;
  RingWait what;
  Value context, worker, number, overdue, quit, seen;
  bool timed = false;
  std::string constraints = "=r";
  SmallVector<Value> operands;

  std::string writeClock();
  std::string use(Value value) {
    constraints += value.getType().isInteger(64) ? ",l" : ",r";
    operands.push_back(value);
    return "$" + std::to_string(operands.size());
  }
  Value write(const std::string &firstLook, const std::string &look, const std::string &came = "");
};
} // namespace

/// A look sets the predicate `done`. Everything behind the first one is off the path of a wait that
/// need not wait; `came` is for one that had to.
Value Wait::write(const std::string &firstLook, const std::string &look, const std::string &came) {
  std::string text = "{ .reg .pred done, leave; .reg .u32 word; .reg .u64 begin, now, line; ";
  bool watched = what != RingWait::full;
  text += firstLook + "@done bra out; ";
  text += watched || timed ? "mov.u64 begin, %globaltimer; " : "";
  text += (watched ? "again: " : "spin: ") + look;
  text += timed ? "@done bra came; " : "@done bra out; ";
  if (quit)
    text += "ld.volatile.shared.u32 word, [" + use(element(b, quit, b.index(0))) +
            "]; setp.ne.u32 leave, word, 0; @leave bra out; ";
  text += watched ? writeClock() : "bra spin; ";
  if (timed)
    text += "came: " + came;
  text += "out: selp.u32 $0, 1, 0, done; }";
  Value result = assembly(b, b.getI32Type(), text, constraints, operands);
  return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, result, b.integer(0));
}

/// Back to the next look, or out when the wait is overdue.
std::string Wait::writeClock() {
  std::string text;
  // A limit of 0 becomes the largest number. The loader has twice the time.
  std::string limit = use(loadWord(b, context, "stall_ns"));
  text += "mov.u64 now, %globaltimer; sub.u64 now, now, begin; ";
  text += what != RingWait::passed ? "shl.b64 line, " + limit + ", 1; sub.u64 line, line, 1; "
                                   : "sub.u64 line, " + limit + ", 1; ";
  text += "setp.le.u64 leave, now, line; @leave bra again; ";
  // One thread of the CTA writes the worker's line.
  text += "atom.relaxed.cta.shared.exch.b32 word, [" + use(element(b, overdue, b.index(0))) +
          "], 1; setp.ne.u32 leave, word, 0; @leave bra out; ";
  std::string block = use(loadWord(b, context, "stall"));
  text += "mad.wide.u32 line, " + use(b.toI32(worker)) + ", 32, " + block + "; ";
  // The host reads it when the launch has ended: that is all the order that it needs. Four words at
  // a time would take four registers in a row from the code around.
  text += "st.volatile.global.v2.u32 [line], {1, 0}; ";
  text += "st.volatile.global.v2.u32 [line+8], {" + use(b.toI32(number)) + ", 0}; ";
  std::string event = use(b.integer(-int64_t(what)));
  text += "st.volatile.global.v2.u32 [line+16], {" + event + ", -1}; ";
  text += "st.volatile.global.v2.u32 [line+24], {" + use(seen) + ", 0}; ";
  return text + "bra out; ";
}

Value RingAssembly::await(mk_cta::RingAwaitOp op) {
  // By number: the accessor insists on the context's type.
  Wait wait{b,
            op.getWhat(),
            op->getOperand(3),
            op.getWorker(),
            op.getNumber(),
            op.getOverdue(),
            op.getQuit(),
            b.toI32(op.getSlot())};
  std::string barrier = wait.use(element(b, op.getBarriers(), op.getSlot()));
  std::string phase =
      ".parity.shared::cta.b64 done, [" + barrier + "], " + wait.use(op.getParity()) + "; ";
  // `try_wait` may take its time; it came with sm_90.
  std::string test = "mbarrier.test_wait" + phase, tryWait = "mbarrier.try_wait" + phase;
  const std::string &look = bulk ? tryWait : test;
  if (!op.getTimed())
    return wait.write(look, look);
  wait.timed = true;
  std::string sum = wait.use(element(b, op.getTimed(), b.index(0)));
  return wait.write(
      test, look,
      ".reg .pred one; mov.u64 now, %globaltimer; sub.u64 now, now, begin; cvt.u32.u64 word, now; "
      "setp.eq.u32 one, " +
          wait.use(b.toI32(b.thread())) + ", 0; @one red.relaxed.cta.shared.add.u32 [" + sum +
          "], word; ");
}

Value RingAssembly::awaitTold(mk_cta::AwaitToldOp op) {
  Value step = b.toI32(op.getStep());
  Wait wait{b,
            op.getWhat(),
            op->getOperand(2),
            op.getWorker(),
            op.getNumber(),
            op.getOverdue(),
            op.getQuit(),
            step};
  std::string look =
      "ld.acquire.cta.shared.u32 word, [" + wait.use(element(b, op.getWord(), b.index(0))) + "]; ";
  look += "sub.s32 word, word, " + wait.use(step) + "; setp.gt.s32 done, word, 0; ";
  return wait.write(look, "nanosleep.u32 20; " + look);
}

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

/// Copies of 16 bytes by this thread: those from `first` bytes on, and every so many lanes further.
void RingAssembly::copyPieces(Value to, Value from, Value bytes, Value first, int64_t lanes,
                              bool once) {
  StringRef kept = "cp.async.cg.shared.global [$0], [$1], 16;",
            read = "{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0; "
                   "cp.async.cg.shared.global.L2::cache_hint [$0], [$1], 16, policy; }";
  b.loop(first, bytes, b.integer(lanes * kPieceBytes), [&](Value at) {
    Value offset = b.toI32(at);
    Value source = b.create<arith::AddIOp>(from, b.create<arith::ExtUIOp>(b.getI64Type(), offset));
    assembly(b, Type(), once ? read : kept, "r,l", {b.addI32(to, offset), source});
  });
}

void RingAssembly::arriveBehindCopies(Value barrier) {
  assembly(b, Type(), "cp.async.mbarrier.arrive.noinc.shared.b64 [$0];", "r", {barrier});
}

void RingAssembly::fill(mk_cta::RingFillOp op) {
  // Operands by number: the accessors insist on the context's type.
  Value barrier = element(b, op->getOperand(2), op->getOperand(1)),
        slot = element(b, op->getOperand(0), op->getOperand(1)), bytes = op->getOperand(5);
  Value source = b.create<arith::AddIOp>(loadWord(b, op->getOperand(3), op.getArena()),
                                         toI64(b, op->getOperand(4)));
  if (!bulk) {
    Value first = b.create<arith::MulIOp>(lane(), b.integer(kPieceBytes));
    copyPieces(slot, source, bytes, first, kLanes, /*once=*/true);
    return arriveBehindCopies(barrier);
  }
  assembly(b, Type(),
           "{ .reg .pred one; .reg .b64 policy; setp.eq.u32 one, $4, 0; "
           "createpolicy.fractional.L2::evict_first.b64 policy, 1.0; "
           "@one mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $3; "
           "@one cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
           ".L2::cache_hint [$1], [$2], $3, [$0], policy; }",
           "r,r,l,r,r", {barrier, slot, source, bytes, lane()});
}

void RingAssembly::copy(mk_cta::RingCopyOp op) {
  // Operands by number: the accessors insist on the context's type.
  Value slot = b.addI32(element(b, op->getOperand(0), op->getOperand(1)),
                        b.toI32(b.mul(op->getOperand(2), kPieceBytes)));
  Value source = b.create<arith::AddIOp>(loadWord(b, op->getOperand(4), op.getArena()),
                                         toI64(b, op->getOperand(5)));
  Value bytes = op->getOperand(6);
  if (!bulk)
    return copyPieces(slot, source, bytes, b.integer(0), 1, /*once=*/false);
  assembly(b, Type(),
           "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
           "[$1], [$2], $3, [$0];",
           "r,r,l,r", {element(b, op->getOperand(3), op->getOperand(1)), slot, source, bytes});
}

void RingAssembly::announce(mk_cta::RingAnnounceOp op) {
  Value barrier = element(b, op.getFull(), op.getSlot());
  if (!bulk)
    return arriveBehindCopies(barrier);
  assembly(b, Type(),
           "{ .reg .pred one; setp.eq.u32 one, $2, 0; "
           "@one mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1; }",
           "r,r,r", {barrier, op.getBytes(), lane()});
}

void RingAssembly::release(mk_cta::RingReleaseOp op) {
  Value address = element(b, op.getBarriers(), op.getSlot());
  if (!op.getRead().empty()) {
    Value zero = b.addI32(b.create<NVVM::GridDimZOp>(b.getI32Type()), b.integer(-1));
    Value bits = b.integer(0);
    for (Value word : op.getRead())
      bits = b.createOrFold<arith::OrIOp>(
          bits, word.getType().isF32()
                    ? b.create<arith::BitcastOp>(b.getI32Type(), word).getResult()
                    : word);
    address = b.addI32(address, b.create<arith::AndIOp>(bits, zero));
  }
  b.syncWarp();
  Value who = lane();
  if (op.getExists())
    who = b.select(op.getExists(), who, b.integer(kLanes));
  assembly(b, Type(),
           "{ .reg .pred one; setp.eq.u32 one, $1, 0; "
           "@one mbarrier.arrive.shared::cta.b64 _, [$0]; }",
           "r,r", {address, who});
}

void RingAssembly::proxyFence(mk_cta::ProxyFenceOp op) {
  if (bulk)
    assembly(b, Type(),
             op.getGlobal() ? "fence.proxy.async.global;" : "fence.proxy.async.shared::cta;", "",
             {});
}
