// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/AttendBlock.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

SmallVector<Value> Softmax::values() const {
  SmallVector<Value> result = {top, weight};
  result.append(sums);
  return result;
}

Softmax Softmax::of(ValueRange values) {
  return {values[0], values[1], SmallVector<Value>(values.drop_front(2))};
}

AttendBlock::AttendBlock(GpuBuilder &b, const AttendItems &items, const SharedLayout &layout,
                         Value thread, ArrayRef<RingPlace> places)
    : b(b), items(items), warp(b.div(thread, 32)), lane(b.rem(thread, 32)), g(b.div(lane, 4)),
      t(b.rem(lane, 4)), ring(layout.slots(b)) {
  for (RingPlace place : places)
    slots.push_back(b.toIndex(place.slot));
  chunks =
      b.shared(layout.ring, {layout.stages, kSlotBytes / 16}, VectorType::get({4}, b.getI32Type()));
}

Softmax AttendBlock::nothing() {
  Type f32 = b.getF32Type();
  Value zero = b.constant(f32, 0.0);
  return {b.constant(f32, -1e30), zero, SmallVector<Value>(items.headDim / 4, zero)};
}

Value AttendBlock::slotOf(bool values) {
  if (items.oneSlot())
    return slots[0];
  int64_t first = values ? items.slotsOfKeys() : 0;
  Value result = slots[first];
  for (int64_t s = 1; s < items.slotsOfKeys(); ++s) {
    Value before = b.less(warp, b.index(s * items.rowsPerSlot() / 8));
    result = b.select(before, result, slots[first + s]);
  }
  return result;
}

Value AttendBlock::placeOf(bool values, Value position, Value chunk) {
  // Blocks begin at a multiple of eight, as the warp's positions do.
  Value row = b.add(b.rem(b.mul(warp, 8), items.rowsPerSlot()), b.rem(position, 8));
  if (values && items.oneSlot())
    row = b.add(row, AttendItems::kBlock);
  return b.add(b.mul(row, items.pool.rowBytes() / 16), items.pool.chunkOf(position, chunk));
}

void AttendBlock::replace(Value position, Value chunk, Value key, Value value) {
  b.write(key, chunks, {slotOf(false), placeOf(false, position, chunk)});
  b.write(value, chunks, {slotOf(true), placeOf(true, position, chunk)});
}

Softmax AttendBlock::add(const Softmax &before, Value first, Value begin, Value end,
                         ArrayRef<Value> query, function_ref<Value(Value)> scoreOf) {
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  VectorType four = VectorType::get({4}, f32), words = VectorType::get({4}, i32);
  Value none = b.integer(0), zero = b.constant(f32, 0.0), lowest = b.constant(f32, -1e30);
  auto product = [&](Value a0, Value a2, Value b0, Value b1, Value acc) -> Value {
    Value a = b.pack({a0, none, a2, none}), weights = b.pack({b0, b1});
    return b.create<mk_cta::MmaOp>(four, a, weights, acc);
  };

  // Chunk t + 4 j of the row of position g: the order of the columns is that of the query.
  Value scores = b.create<arith::ConstantOp>(b.getZeroAttr(four));
  Value slot = slotOf(false), mine = b.add(first, g);
  for (int64_t j = 0; j < items.headDim / 32; ++j) {
    Value place = placeOf(false, mine, b.add(t, 4 * j));
    Value keys = b.create<mk_cta::FragmentOp>(words, ring, slot, place);
    for (int64_t k = 0; k < 4; k += 2)
      scores = product(query[4 * j + k], query[4 * j + k + 1], b.element(keys, k),
                       b.element(keys, k + 1), scores);
  }

  // This thread has the scores of positions 2 t and 2 t + 1.
  std::array<Value, 2> exists, score;
  for (int64_t i = 0; i < 2; ++i) {
    Value position = b.add(b.add(first, b.mul(t, 2)), i);
    exists[i] = b.less(position, end);
    if (begin)
      exists[i] = b.both(exists[i], b.less(begin, b.add(position, 1)));
    score[i] = b.select(exists[i], scoreOf(b.element(scores, i)), lowest);
  }
  Value top =
      b.reduceLanes(b.fmax(score[0], score[1]), 4, [&](Value x, Value y) { return b.fmax(x, y); });
  top = b.fmax(before.top, top);
  Value keep = b.fastExp(b.fsub(before.top, top));
  auto weigh = [&](int64_t i) {
    return b.select(exists[i], b.fastExp(b.fsub(score[i], top)), zero);
  };
  Value pair = b.packPair(weigh(0), weigh(1));
  // What is rounded for the product is rounded in the weight too.
  auto [low, high] = b.halves(pair);
  Softmax after{top, b.fma(before.weight, keep, b.fadd(low, high)), {}};

  // Beyond the end (or before the window) may lie anything, also what is no number: it must not
  // meet a weight of zero.
  Value mask = b.create<arith::OrIOp>(b.select(exists[0], b.integer(0xFFFF), none),
                                      b.select(exists[1], b.integer(-65536), none));
  Value rowOf = b.add(first, b.rem(lane, 8));
  slot = slotOf(true);
  for (int64_t j = 0; j < items.headDim / 32; ++j) {
    Value place = placeOf(true, rowOf, b.add(b.div(lane, 8), 4 * j));
    Value values = b.create<mk_cta::TransposedOp>(words, ring, slot, place);
    for (int64_t i = 0; i < 4; ++i) {
      size_t n = 2 * (4 * j + i);
      Value acc =
          b.pack({b.fmul(before.sums[n], keep), b.fmul(before.sums[n + 1], keep), zero, zero});
      Value eight = b.create<arith::AndIOp>(b.element(values, i), mask);
      Value sums = product(pair, none, eight, none, acc);
      after.sums.append({b.element(sums, 0), b.element(sums, 1)});
    }
  }
  return after;
}
