// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/TaskConditions.h"
#include "passes/gpu/RingWatch.h"
#include "passes/gpu/TableWalk.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

int64_t TaskConditions::countMost(mk_task::ProgramOp program) {
  int64_t most = 0;
  for (auto family : program.getOps<mk_task::FamilyOp>())
    if (ArrayAttr conditions = family.getConditionsAttr())
      most = std::max<int64_t>(most, conditions.size());
  return most;
}

bool TaskConditions::mayPass(mk_task::ProgramOp program, mk_task::KindOp kind) {
  return llvm::any_of(program.getOps<mk_task::FamilyOp>(), [&](mk_task::FamilyOp family) {
    return family.getKind() == kind.getSymName() && family.getConditionsAttr();
  });
}

bool TaskConditions::loaderAsks(mk_task::KindOp kind) {
  return kind.getStreamed() || kind.getKindClass() == mk_task::KindClass::attend;
}

static Value isSet(GpuBuilder &b, Value word, int64_t mask) {
  Value masked = b.createOrFold<arith::AndIOp>(word, b.integer(mask));
  return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, masked, b.integer(0));
}

Value TaskConditions::bit(Value instruction, int64_t place) {
  Value hints = TableWalk{b, context, worker}.field(instruction, "hints");
  return isSet(b, b.toI32(hints), int64_t(1) << place);
}

Value TaskConditions::some(Value instruction) {
  return bit(instruction, mk_task::kConditionBit); // they are numbered from 0
}

TaskConditions::Answer TaskConditions::ask(Value instruction, Value number, Value step,
                                           Value last) {
  TableWalk table{b, context, worker};
  Value met = b.integer(1, 1), known = met, two = b.integer(2);
  for (int64_t i = 0; i < most; ++i) {
    int64_t place = mk_task::kConditionBit + 2 * i;
    Value word = table.field(instruction, "operand", mk_task::getConditionWord(i));
    Value wanted = b.create<arith::ExtUIOp>(b.getI32Type(), bit(instruction, place + 1));
    Value asked = b.both(bit(instruction, place), b.both(met, known)), looks = asked;
    Value before = b.integer(0);
    if (i == 0) { // twice the place, and the side
      Value lastPlace = b.create<arith::DivUIOp>(last, two);
      before = b.create<arith::RemUIOp>(last, two);
      looks = b.both(asked,
                     b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, lastPlace, b.toI32(word)));
    }
    Value side = b.choose(
        b.getI32Type(), looks,
        [&]() -> Value {
          return b.create<mk_cta::AwaitPredicateOp>(
              b.getI32Type(), word, step, context, worker, number,
              SharedLayout::flag(b, SharedLayout::kOverdue), ofLoader);
        },
        [&] { return before; });
    Value came = b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, side, b.integer(0));
    met = b.select(asked, b.equal(side, wanted), met);
    known = b.select(asked, came, known);
    if (i == 0)
      last = b.select(asked, b.addI32(b.mul(b.toI32(word), two), side), last);
  }
  return {met, known, last};
}

TaskConditions::Answer TaskConditions::wait(Waiter &waiter, Value instruction, Value number,
                                            Value step, Value last, ArrayRef<mk_task::KindOp> kinds,
                                            function_ref<Value()> plainly) {
  Type i1 = b.getI1Type(), i32 = b.getI32Type();
  Value kind = TableWalk{b, context, worker}.field(instruction, "kind");
  SmallVector<Value> result = b.choose(
      TypeRange{i1, i1, i32}, some(instruction),
      [&] {
        Answer answer = ask(instruction, number, step, last);
        b.barrier(); // if a thread has looked for too long all leave together, at the poll
        Value looks = isOneOf(b, kind, kinds, loaderAsks);
        auto more = [&](Value arrived) {
          return b.choose(
              i1, b.both(arrived, looks),
              [&]() -> Value {
                return RingWatch{b, context, worker, number}.awaitTold(
                    mk_cta::RingWait::passed, SharedLayout::flag(b, SharedLayout::kAsked),
                    SharedLayout::instructionNumber(b, context, step, number));
              },
              [&] { return arrived; });
        };
        Value arrived = waiter.wait(instruction, number, step, {answer.met, more});
        return SmallVector<Value>{arrived, answer.met, answer.last};
      },
      [&] { return SmallVector<Value>{plainly(), b.integer(1, 1), last}; });
  return {result[1], result[0], result[2]};
}
