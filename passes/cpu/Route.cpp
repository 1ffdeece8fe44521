// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of a `mk.topk_route`: one task for all rows, since a row has no more than some hundred
// experts.
#include "passes/cpu/KindEmitter.h"

#include <limits>

using namespace mlir;
using namespace mlir::mk;

void KindEmitter::emitTopkRoute(TopkRouteOp op) {
  int64_t experts = getColumns(op.getLogits()), chosen = op.getChosen();
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  Value logits = memoryOf(op.getLogits()), result = outputs[0].memory;
  Value left = allocate({experts}, f32), order = allocate({chosen}, i32);
  Value zero = b.index(0), one = b.index(1), nobody = b.integer(-1);
  Value noNumber = b.constant(f32, std::numeric_limits<double>::quiet_NaN());
  auto compare = [&](arith::CmpFPredicate predicate, Value a, Value c) -> Value {
    return b.create<arith::CmpFOp>(predicate, a, c);
  };
  auto isNobody = [&](Value expert) -> Value {
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::eq, expert, nobody);
  };

  b.loop(zero, rowCount(kind.getDomain()), one, [&](Value row) {
    b.loop(0, experts, 1, [&](Value expert) {
      write(read(logits, {row, expert}), left, expert);
      write(b.constant(f32, 0.0), result, {row, expert});
    });
    // The largest of those that are left. Only a larger one moves on: the lowest wins a tie. Who
    // is taken is no number any more.
    b.loop(0, chosen, 1, [&](Value place) {
      Value lowest = b.constant(f32, -std::numeric_limits<double>::infinity());
      Value best = b.loop(
          zero, b.index(experts), one, ValueRange{lowest, nobody},
          [&](Value expert, ValueRange carried) {
            Value x = read(left, expert);
            Value first = b.create<arith::AndIOp>(isNobody(carried[1]),
                                                  compare(arith::CmpFPredicate::ORD, x, x));
            Value take =
                b.create<arith::OrIOp>(compare(arith::CmpFPredicate::OGT, x, carried[0]), first);
            return SmallVector<Value>{b.create<arith::SelectOp>(take, x, carried[0]),
                                      b.create<arith::SelectOp>(take, b.toI32(expert), carried[1])};
          })[1];
      write(best, order, place);
      b.when(b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, best, nobody),
             [&] { write(noNumber, left, b.toIndex(best)); });
    });

    Value largest = b.choose(
        isNobody(read(order, zero)), [&] { return noNumber; },
        [&] { return read(logits, {row, b.toIndex(read(order, zero))}); });
    auto power = [&](Value expert) { return b.exp(b.fsub(read(logits, {row, expert}), largest)); };
    auto chosenPower = [&](Value expert) {
      return b.choose(
          isNobody(expert), [&] { return b.constant(f32, 0.0); },
          [&] { return power(b.toIndex(expert)); });
    };
    bool normalize = op.getNormalize();
    Value total = b.loop(zero, b.index(normalize ? chosen : experts), one, b.constant(f32, 0.0),
                         [&](Value i, ValueRange sum) {
                           Value next = normalize ? chosenPower(read(order, i)) : power(i);
                           return SmallVector<Value>{b.fadd(sum[0], next)};
                         })[0];
    Value scale = b.constant(f32, op.getScale().convertToDouble());
    b.loop(0, chosen, 1, [&](Value place) {
      Value expert = read(order, place);
      b.when(b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, expert, nobody), [&] {
        Value weight = b.fmul(b.fdiv(chosenPower(expert), total), scale);
        write(weight, result, {row, b.toIndex(expert)});
      });
    });
  });
}
