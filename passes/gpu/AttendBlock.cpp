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
                         Value thread, ArrayRef<RingPlace> places, Value first)
    : b(b), items(items), warp(b.rem(b.div(thread, 32), AttendItems::kTeam)),
      lane(b.rem(thread, 32)), g(b.div(lane, 4)), t(b.rem(lane, 4)), ring(layout.slots(b)),
      first(first) {
  for (RingPlace place : places)
    slots.push_back(b.toIndex(place.slot));
  chunks =
      b.shared(layout.ring, {layout.stages, kSlotBytes / 16}, VectorType::get({4}, b.getI32Type()));
  elements = b.shared(layout.ring, {layout.stages, kSlotBytes / 2}, b.getBF16Type());
}

Softmax AttendBlock::nothing(GpuBuilder &b, const AttendItems &items) {
  Type f32 = b.getF32Type();
  Value zero = b.constant(f32, 0.0);
  return {b.constant(f32, -1e30), zero, SmallVector<Value>(items.headDim / 4, zero)};
}

SmallVector<Value> AttendBlock::find(bool values, Value row, Value chunk) {
  int64_t number = values && !items.oneSlot() ? items.slotsOfKeys() : 0,
          warps = items.rowsPerSlot() / AttendItems::kPerWarp; // with rows in one slot
  Value slot = slots[number];
  for (int64_t s = 1; s < items.slotsOfKeys(); ++s)
    slot = b.select(b.less(warp, b.index(s * warps)), slot, slots[number + s]);
  // The warp's rows begin at a multiple of the eight whose chunks are exchanged among them.
  Value swapped = items.pool.chunkOf(row, chunk);
  row = b.add(row, b.mul(b.rem(warp, warps), AttendItems::kPerWarp));
  if (values && items.oneSlot())
    row = b.add(row, AttendItems::kBlock);
  return {slot, b.add(b.mul(row, items.pool.rowBytes() / 16), swapped)};
}

void AttendBlock::replace(Value position, Value chunk, Value key, Value value) {
  Value row = b.sub(position, first);
  b.write(key, chunks, find(false, row, chunk));
  b.write(value, chunks, find(true, row, chunk));
}

void AttendBlock::replaceColumns(Value position, const HeadColumns &columns, ArrayRef<Value> row) {
  Value place = b.sub(position, first);
  size_t each = row.size() / 2;
  for (auto [i, x] : llvm::enumerate(row)) {
    Value column = columns.at(b, i % each / 2, i % 2);
    SmallVector<Value> chunk = find(i >= each, place, b.div(column, 8));
    b.write(b.toBf16(x, /*native=*/true), elements,
            {chunk[0], b.add(b.mul(chunk[1], 8), b.rem(column, 8))});
  }
}

void AttendBlock::clear(Value from, Value to) {
  int64_t perRow = items.pool.rowBytes() / 16;
  auto words = VectorType::get({4}, b.getI32Type());
  Value zero = b.create<arith::ConstantOp>(b.getZeroAttr(words));
  b.loop(b.add(b.mul(from, perRow), lane), b.mul(to, perRow), b.index(32), [&](Value chunk) {
    b.write(zero, chunks, find(true, b.div(chunk, perRow), b.rem(chunk, perRow)));
  });
}

Softmax AttendBlock::add(const Softmax &before, Value begin, Value end, ArrayRef<Value> query,
                         function_ref<Value(Value)> scoreOf) {
  // Tiles of eight positions; and how many products go side by side, each a chain of its own.
  constexpr int64_t kTiles = AttendItems::kPerWarp / 8, kAtOnce = 4;
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  VectorType four = VectorType::get({4}, f32), words = VectorType::get({4}, i32);
  Value none = b.integer(0), zero = b.constant(f32, 0.0), lowest = b.constant(f32, -1e30);
  auto product = [&](Value a0, Value a2, Value b0, Value b1, Value acc) -> Value {
    Value a = b.pack({a0, none, a2, none}), weights = b.pack({b0, b1});
    return b.create<mk_cta::MmaOp>(four, a, weights, acc);
  };

  // Chunk t + 4 j of the row of position g of a tile: the order of the columns is that of the
  // query. Of each tile this thread gets the scores of positions 2 t and 2 t + 1.
  SmallVector<Value> score;
  Value top = before.top, own = b.add(first, b.mul(t, 2)), left = b.sub(end, own);
  for (int64_t some = 0; some < kTiles; some += kAtOnce) {
    SmallVector<Value> products(kAtOnce, b.create<arith::ConstantOp>(b.getZeroAttr(four)));
    for (int64_t j = 0; j < items.headDim / 32; ++j)
      for (int64_t i = 0; i < kAtOnce; ++i) {
        auto place = find(false, b.add(g, 8 * (some + i)), b.add(t, 4 * j));
        Value keys = b.create<mk_cta::FragmentOp>(words, ring, place[0], place[1]);
        for (int64_t k = 0; k < 4; k += 2)
          products[i] = product(query[4 * j + k], query[4 * j + k + 1], b.element(keys, k),
                                b.element(keys, k + 1), products[i]);
      }
    for (int64_t i = 0; i < 2 * kAtOnce; ++i) {
      int64_t place = (some + i / 2) * 8 + i % 2;
      Value exists = b.less(b.index(place), left);
      if (begin)
        exists = b.both(exists, b.less(begin, b.add(own, place + 1)));
      score.push_back(b.select(exists, scoreOf(b.element(products[i / 2], i % 2)), lowest));
      top = b.fmax(top, score.back());
    }
  }
  top = b.reduceLanes(top, 4, [&](Value x, Value y) { return b.fmax(x, y); });

  // A position of the block exists, so one that does not weighs exactly zero.
  Value keep = b.fastExp(b.fsub(before.top, top));
  Softmax after{top, b.fmul(before.weight, keep), {}};
  SmallVector<Value> pairs;
  for (int64_t tile = 0; tile < kTiles; ++tile) {
    auto weigh = [&](int64_t i) { return b.fastExp(b.fsub(score[i], top)); };
    pairs.push_back(b.packPair(weigh(2 * tile), weigh(2 * tile + 1)));
    // What is rounded for the product is rounded in the weight too.
    auto [low, high] = b.halves(pairs.back());
    after.weight = b.fadd(after.weight, b.fadd(low, high));
  }

  // Two tiles are the depth of a product. Lane 8 i + r reads row r of tile i % 2, of chunk i / 2.
  for (int64_t some = 0; some < items.headDim / 8; some += kAtOnce) {
    SmallVector<Value> sums;
    for (int64_t n = some; n < some + kAtOnce; ++n)
      sums.push_back(b.pack(
          {b.fmul(before.sums[2 * n], keep), b.fmul(before.sums[2 * n + 1], keep), zero, zero}));
    for (int64_t tile = 0; tile < kTiles; tile += 2)
      for (int64_t n = 0; n < kAtOnce; n += 2) {
        auto place = find(true, b.add(b.rem(lane, 16), 8 * tile), b.add(b.div(lane, 16), some + n));
        Value values = b.create<mk_cta::TransposedOp>(words, ring, place[0], place[1]);
        for (int64_t i = 0; i < 2; ++i)
          sums[n + i] = product(pairs[tile], pairs[tile + 1], b.element(values, 2 * i),
                                b.element(values, 2 * i + 1), sums[n + i]);
      }
    for (Value sum : sums)
      after.sums.append({b.element(sum, 0), b.element(sum, 1)});
  }
  return after;
}
