// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/TileProducts.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;
using mk_task::FragmentTile;

/// Tiles whose words a thread holds at once: with four it would wait for all of them too long.
static constexpr int64_t kTilesAtOnce = 2;

TileProducts::TileProducts(GpuBuilder &b, const SharedLayout &layout, RingWatch watch,
                           FragmentTile tile, int64_t rowGroups, Value thread)
    : b(b), layout(layout), watch(watch), tile(tile), rowGroups(rowGroups),
      perWarp(blocksPerWarp(tile)), slots(std::max<int64_t>(1, kTilesAtOnce / tile.group)),
      thread(thread), warp(b.div(thread, 32)), lane(b.rem(thread, 32)), g(b.div(lane, 4)),
      t(b.rem(lane, 4)), ring(layout.slots(b)), full(layout.full(b)), empty(layout.empty(b)) {}

int64_t TileProducts::blocksPerWarp(const FragmentTile &tile) {
  return llvm::divideCeil(tile.chunkBlocks, kConsumerWarps);
}

int64_t TileProducts::batchUnits(const FragmentTile &tile, int64_t rowGroups) {
  return tile.chunks > 1 || rowGroups > 1 ? 4 : 8;
}

SmallVector<Value> TileProducts::nothing(int64_t units) {
  Type four = VectorType::get({4}, b.getF32Type());
  Value zero = b.create<arith::ConstantOp>(b.getZeroAttr(four));
  return SmallVector<Value>(units * rowGroups * 2, zero);
}

/// This thread's words of the blocks of its warp, from a tile in a slot.
SmallVector<Value> TileProducts::load(Value slot, int64_t byte16) {
  VectorType words = VectorType::get({4}, b.getI32Type());
  SmallVector<Value> result;
  for (int64_t j = 0; j < perWarp; ++j) {
    Value block = b.add(warp, j * kConsumerWarps);
    Value place = b.add(b.add(b.mul(block, 32), lane), byte16);
    auto load = [&]() -> Value { return b.create<mk_cta::FragmentOp>(words, ring, slot, place); };
    if ((j + 1) * kConsumerWarps <= tile.chunkBlocks)
      result.push_back(load());
    else // a block that does not exist weighs nothing
      result.push_back(b.choose(words, b.less(block, b.index(tile.chunkBlocks)), load, [&] {
        return b.create<arith::ConstantOp>(b.getZeroAttr(words)).getResult();
      }));
  }
  return result;
}

RingPlace TileProducts::multiply(const RowFragments &x, Value first, Value units, Value offset,
                                 RingPlace at, MutableArrayRef<Value> sums) {
  int64_t count = sums.size() / (2 * rowGroups), used = llvm::divideCeil(count, tile.group);
  auto exists = [&](int64_t unit) { return b.less(b.add(first, unit), units); };
  // All waits come before all else: behind them the steps of the tiles can be taken together.
  SmallVector<Value> places;
  for (int64_t s = 0; s < used; ++s) {
    RingPlace here = s ? b.advance(at, b.integer(s), layout.stages) : at;
    places.push_back(b.toIndex(here.slot));
    b.when(exists(s * tile.group), [&] {
      Value ahead = b.index(s * tile.group * tile.bytes());
      b.create<mk_cta::RingHoldsOp>(ValueRange{b.wideAdd(offset, ahead)});
      watch.awaitFull(full, here);
    });
  }
  // Of tiles that do not exist: leftovers, whose products nobody looks at.
  SmallVector<SmallVector<Value>> weights;
  for (int64_t s = 0; s < used; ++s)
    for (int64_t sub = 0; sub < tile.group; ++sub)
      weights.push_back(load(places[s], sub * tile.chunkBytes() / 16));
  // A slot is free as soon as its bytes are in registers.
  for (int64_t s = 0; s < used; ++s) {
    SmallVector<Value> read;
    for (int64_t sub = 0; sub < tile.group; ++sub)
      for (Value four : weights[s * tile.group + sub])
        read.push_back(b.element(four, 0));
    b.create<mk_cta::RingReleaseOp>(empty, places[s], read, exists(s * tile.group));
  }
  VectorType four = VectorType::get({4}, b.getF32Type());
  for (int64_t j = 0; j < perWarp; ++j)
    for (int64_t unit = 0; unit < count; ++unit)
      for (int64_t group = 0; group < rowGroups; ++group)
        for (int64_t segment = 0; segment < 2; ++segment) {
          Value &sum = sums[(unit * rowGroups + group) * 2 + segment];
          Value words = weights[unit][j], a = b.pack(x.words[group][j][segment]);
          Value w = b.pack({b.element(words, 2 * segment), b.element(words, 2 * segment + 1)});
          sum = b.create<mk_cta::MmaOp>(four, a, w, sum);
        }
  Value left = b.max(b.index(0), b.sub(units, first));
  Value taken = b.min(b.div(b.add(left, tile.group - 1), tile.group), b.index(used));
  RingPlace after = b.advance(at, b.toI32(taken), layout.stages);
  b.when(b.equal(thread, b.index(0)),
         [&] { b.write(after.used, SharedLayout::flag(b, SharedLayout::kUsed), b.index(0)); });
  return after;
}

void TileProducts::store(Value first, Value memory, Value buffer, ArrayRef<Value> sums) {
  Value ofFirst = b.less(t, b.index(2)); // threads with sums of the first group of K
  auto take = [&](ArrayRef<Value> both, int64_t i) {
    auto pick = [&](Value c) { return b.select(ofFirst, b.element(c, i), b.element(c, i + 2)); };
    Value sum = b.fadd(pick(both[0]), pick(both[1]));
    return b.fadd(sum, b.shuffleXor(sum, 2));
  };
  // Two threads write the same word, and units that do not exist are written too: no branches.
  for (size_t n = 0; n < sums.size(); n += 2) {
    int64_t unit = n / 2 / rowGroups, group = n / 2 % rowGroups;
    Value low = take(sums.slice(n, 2), 0), high = take(sums.slice(n, 2), 1);
    b.write(b.pack({low, high}), memory,
            {buffer, b.add(first, unit), warp, b.add(g, group * kGroupRows), b.rem(t, 2)});
  }
}

SmallVector<Value> TileProducts::addWeighted(ArrayRef<Value> totals, ArrayRef<Value> sums,
                                             ArrayRef<Value> weights, ArrayRef<Value> exist) {
  Value ofFirst = b.less(t, b.index(2));
  SmallVector<Value> result;
  for (size_t n = 0; n < totals.size(); ++n) {
    size_t group = n / 2 % rowGroups;
    auto pick = [&](Value c) {
      return b.select(ofFirst, b.element(c, n % 2), b.element(c, n % 2 + 2));
    };
    Value sum = b.fadd(pick(sums[n / 2 * 2]), pick(sums[n / 2 * 2 + 1]));
    result.push_back(b.select(exist[group], b.fma(weights[group], sum, totals[n]), totals[n]));
  }
  return result;
}

void TileProducts::storeTotals(Value memory, Value buffer, ArrayRef<Value> totals) {
  auto take = [&](Value total) { return b.fadd(total, b.shuffleXor(total, 2)); };
  for (size_t n = 0; n < totals.size(); n += 2) {
    int64_t unit = n / 2 / rowGroups, group = n / 2 % rowGroups;
    Value low = take(totals[n]), high = take(totals[n + 1]);
    b.write(b.pack({low, high}), memory,
            {buffer, b.index(unit), warp, b.add(g, group * kGroupRows), b.rem(t, 2)});
  }
}
