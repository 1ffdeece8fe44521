// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/Waiter.h"
#include "passes/gpu/RingWatch.h"
#include "passes/gpu/SharedLayout.h"

#include "dialects/mk_cta/MkCta.h"
#include "dialects/mk_task/MkTask.h"

using namespace mlir;
using namespace mlir::mk;

/// The thread that polls: the first of the last consumer warp, which has the least to do otherwise.
static constexpr int64_t kPoller = kConsumers - 32;

bool mk::waitsItself(mk_task::KindOp kind) { return isa<AttendOp>(kind.getAnchor()); }

Value Waiter::alive() {
  return b.equal(b.read(flag(SharedLayout::kQuit), b.index(0)), b.integer(0));
}

Value Waiter::poll(function_ref<Value()> body) {
  b.when(b.both(b.equal(thread, b.index(kPoller)), alive()), [&] {
    // What the last task read may never have come: then this CTA leaves too.
    Value came = b.equal(b.read(flag(SharedLayout::kOverdue), b.index(0)), b.integer(0));
    Value arrived =
        b.choose(b.getI1Type(), came, [&] { return body(); }, [&] { return b.integer(0, 1); });
    b.when(b.equal(arrived, b.integer(0, 1)),
           [&] { b.write(b.integer(1), flag(SharedLayout::kQuit), b.index(0)); });
  });
  b.barrier();
  return alive();
}

Value Waiter::wait(Value instruction, Value number, Value step, Conditional conditional) {
  auto field = [&](StringRef name, int64_t i = 0) -> Value {
    return b.create<mk_cta::FieldOp>(instruction, name, i);
  };
  struct Each {
    Value event, target, hint;
  };
  SmallVector<Each> each;
  Value waits = field("waits"), hints = field("hints");
  for (int64_t i = 0; i < mk_task::kMaxWaits; ++i) {
    Value steps = b.wideSub(b.wideAdd(step, b.index(1)), field("wait_lag", i));
    Value bit = b.createOrFold<arith::AndIOp>(hints, b.index(int64_t(2) << i));
    each.push_back({field("wait_event", i), b.wideMul(field("wait_arrivals", i), steps),
                    b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, bit, b.index(0))});
  }
  return poll([&] {
    Value arrived = b.integer(1, 1);
    for (auto [i, wait] : llvm::enumerate(each)) {
      Value wanted = b.both(b.less(b.index(i), waits), arrived);
      if (conditional.met) {
        Value orders = b.equal(wait.hint, b.integer(0, 1));
        wanted = b.both(wanted, b.create<arith::OrIOp>(orders, conditional.met));
      }
      arrived = b.choose(
          b.getI1Type(), wanted,
          [&, wait = wait]() -> Value {
            return b.create<mk_cta::PollOp>(b.getI1Type(), context, worker, number, wait.event,
                                            wait.target, wait.hint);
          },
          [&] { return arrived; });
    }
    return conditional.more ? conditional.more(arrived) : arrived;
  });
}

Value Waiter::onlyHints(Value instruction) {
  Value waits = b.create<mk_cta::FieldOp>(instruction, "waits", 0),
        hints = b.create<mk_cta::FieldOp>(instruction, "hints", 0);
  return b.both(b.equal(waits, b.index(1)),
                b.equal(b.createOrFold<arith::AndIOp>(hints, b.index(2)), b.index(2)));
}

Value Waiter::waitForStep(Value number, Value step) {
  return poll([&] {
    Value ended = b.create<mk_cta::PollOp>(b.getI1Type(), context, worker, number, b.index(-1),
                                           step, b.integer(0, 1));
    // The loader may still look at what the step was asked to do.
    return b.choose(
        b.getI1Type(), ended,
        [&] {
          return RingWatch{b, context, worker, number}.awaitTold(
              mk_cta::RingWait::passed, flag(SharedLayout::kPassed), b.wideSub(step, b.index(1)));
        },
        [&] { return ended; });
  });
}
