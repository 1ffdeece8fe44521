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

TaskConditions::Answer TaskConditions::ask(Value instruction, Value number, Value step) {
  TableWalk table{b, context, worker};
  Type i1 = b.getI1Type();
  SmallVector<Value> state = {b.integer(1, 1), b.integer(1, 1)};
  for (int64_t i = 0; i < most; ++i) {
    int64_t place = mk_task::kConditionBit + 2 * i;
    Value word = table.field(instruction, "operand", mk_task::getConditionWord(i));
    Value wanted = b.create<arith::ExtUIOp>(b.getI32Type(), bit(instruction, place + 1));
    Value asked = b.both(bit(instruction, place), b.both(state[0], state[1]));
    state = b.choose(
        TypeRange{i1, i1}, asked,
        [&] {
          Value side = b.create<mk_cta::AwaitPredicateOp>(
              b.getI32Type(), word, step, context, worker, number,
              SharedLayout::flag(b, SharedLayout::kOverdue), ofLoader);
          Value known = b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, side, b.integer(0));
          return SmallVector<Value>{b.equal(side, wanted), known};
        },
        [&] { return state; });
  }
  return {state[0], state[1]};
}

std::pair<Value, Value> TaskConditions::wait(Waiter &waiter, Value instruction, Value number,
                                             Value step, ArrayRef<mk_task::KindOp> kinds,
                                             function_ref<Value()> plainly) {
  Type i1 = b.getI1Type();
  Value kind = TableWalk{b, context, worker}.field(instruction, "kind");
  SmallVector<Value> result = b.choose(
      TypeRange{i1, i1}, some(instruction),
      [&] {
        auto [met, known] = ask(instruction, number, step);
        b.barrier(); // if a thread has looked for too long all leave together, at the poll
        Value looks = isOneOf(b, kind, kinds, loaderAsks);
        Value arrived = waiter.wait(instruction, number, step, [&](Value arrived) {
          return b.choose(
              i1, b.both(arrived, looks),
              [&]() -> Value {
                return RingWatch{b, context, worker, number}.awaitTold(
                    mk_cta::RingWait::passed, SharedLayout::flag(b, SharedLayout::kAsked),
                    SharedLayout::instructionNumber(b, context, step, number));
              },
              [&] { return arrived; });
        });
        return SmallVector<Value>{arrived, met};
      },
      [&] { return SmallVector<Value>{plainly(), b.integer(1, 1)}; });
  return {result[0], result[1]};
}
