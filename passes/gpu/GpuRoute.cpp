// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of a `mk.topk_route`, on one CTA: every thread counts for its experts how many have a
// larger logit, which is their place; no order of execution comes into it.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// Logits of the rows that are on the chip together.
static constexpr int64_t kLogits = 4096;

static int64_t rowsAtOnce(TopkRouteOp op) {
  return std::max<int64_t>(1, std::min(kMaxRows, kLogits / getColumns(op.getLogits())));
}

int64_t GpuEmitter::routeBytes(TopkRouteOp op) {
  int64_t words = getColumns(op.getLogits()) + int64_t(op.getChosen());
  return 4 * rowsAtOnce(op) * words;
}

void GpuEmitter::emitTopkRoute(TopkRouteOp op) {
  int64_t experts = getColumns(op.getLogits()), chosen = op.getChosen(), most = rowsAtOnce(op);
  const Memory &logits = memoryOf(op.getLogits()), &result = *outputs[0].memory;
  Value x = shared(layout.scratch, {most, experts}, f32());
  Value order = shared(layout.scratch + 4 * most * experts, {most, chosen}, b.getI32Type());
  Value zero = b.index(0), one = b.index(1), nobody = b.integer(-1);
  auto compare = [&](arith::CmpFPredicate predicate, Value a, Value c) -> Value {
    return b.create<arith::CmpFOp>(predicate, a, c);
  };
  auto either = [&](Value a, Value c) -> Value { return b.create<arith::OrIOp>(a, c); };
  auto isNobody = [&](Value expert) { return b.equal(expert, nobody); };
  // Of so many rows every column, a thread each.
  auto eachColumn = [&](Value rows, int64_t columns, function_ref<void(Value, Value)> body) {
    b.loop(thread, b.mul(rows, columns), b.index(kConsumers),
           [&](Value i) { body(b.div(i, columns), b.rem(i, columns)); });
  };
  clearRows();
  b.loop(zero, rowCount(), b.index(most), [&](Value first) {
    Value rows = b.min(b.sub(rowCount(), first), b.index(most));
    b.barrier(); // the rows before have been read
    eachColumn(rows, experts, [&](Value row, Value expert) {
      b.write(load(logits, b.add(first, row), expert), x, {row, expert});
    });
    eachColumn(rows, chosen, [&](Value row, Value place) { b.write(nobody, order, {row, place}); });
    b.barrier();
    eachColumn(rows, experts, [&](Value row, Value expert) {
      Value own = b.read(x, {row, expert});
      // Before this one come those that are larger, and of equal ones the lower.
      Value place =
          b.loop(zero, b.index(experts), one, b.integer(0), [&](Value other, ValueRange before) {
            Value value = b.read(x, {row, other});
            Value same =
                b.both(compare(arith::CmpFPredicate::OEQ, value, own), b.less(other, expert));
            Value counts = either(compare(arith::CmpFPredicate::OGT, value, own), same);
            return SmallVector<Value>{
                b.addI32(before[0], b.create<arith::ExtUIOp>(b.getI32Type(), counts))};
          })[0];
      Value taken =
          b.both(b.less(place, b.integer(chosen)), compare(arith::CmpFPredicate::ORD, own, own));
      b.when(taken, [&] { b.write(b.toI32(expert), order, {row, b.toIndex(place)}); });
    });
    b.barrier();
    eachColumn(rows, experts, [&](Value row, Value expert) {
      Value isChosen =
          b.loop(zero, b.index(chosen), one, b.integer(0, 1), [&](Value place, ValueRange found) {
            Value other = b.read(order, {row, place});
            return SmallVector<Value>{either(found[0], b.equal(other, b.toI32(expert)))};
          })[0];
      Value weight = b.choose(
          f32(), isChosen,
          [&]() -> Value {
            // Somebody is chosen, so somebody has the largest logit.
            Value largest = b.read(x, {row, b.toIndex(b.read(order, {row, zero}))});
            auto power = [&](Value of) {
              return b.wholeExp(b.fsub(b.read(x, {row, of}), largest));
            };
            bool normalize = op.getNormalize();
            Value total =
                b.loop(zero, b.index(normalize ? chosen : experts), one, b.constant(f32(), 0.0),
                       [&](Value i, ValueRange sum) {
                         if (!normalize)
                           return SmallVector<Value>{b.fadd(sum[0], power(i))};
                         Value other = b.read(order, {row, i});
                         Value next = b.fadd(sum[0], power(b.max(zero, b.toIndex(other))));
                         return SmallVector<Value>{b.select(isNobody(other), sum[0], next)};
                       })[0];
            Value scale = b.constant(f32(), op.getScale().convertToDouble());
            return b.fmul(b.ratio(power(expert), total), scale);
          },
          [&] { return b.constant(f32(), 0.0); });
      store(weight, result, b.add(first, row), expert);
    });
  });
}
