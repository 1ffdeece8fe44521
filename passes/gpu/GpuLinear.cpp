// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of a `tiles` kind. A tile holds 4 rows of the weight; a block of it, 64 columns of
// these, is operand B of two tensor core products: 8 columns = 2 segments of 32 times 4 rows.
// Operand A holds 8 tokens twice, once for each segment, so of the result only the blocks on the
// diagonal count. Warp w takes the blocks w, w + 8, ... of every chunk, the eight partial sums of a
// row are added in that order, and nothing depends on the number of tokens: the same bits in every
// batch.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;
using mk_task::FragmentTile;

/// Units whose sums are kept until they are added up. The order of the copies of a tile in chunks
/// depends on it, so there it must not depend on the number of tokens.
static int64_t batchUnits(const FragmentTile &tile, int64_t groups) {
  return tile.chunks > 1 || groups > 1 ? 4 : 8;
}
/// Two buffers of sums [unit][warp][token][4] and the sums of squares [warp][token].
static constexpr int64_t kSumBytes =
    2 * 64 * kConsumerWarps * 4 * 4; // units x tokens is 64 at most

static constexpr int64_t kSquareBytes = kConsumerWarps * kMaxRows * 4;

int64_t GpuEmitter::scratchBytes(mk_task::KindOp kind) {
  if (isa<LinearOp>(kind.getAnchor()))
    return kSumBytes + kSquareBytes + 2 * 64 * 8;
  if (auto attend = dyn_cast<AttendOp>(kind.getAnchor())) {
    CacheType cache = attend.getCache().getType();
    int64_t headDim = cache.getHeadDim(),
            group = getColumns(attend.getQuery()) / headDim / cache.getHeads();
    return kConsumerWarps * std::min(group, AttendItems::kHeads) * (headDim + 4) * 4;
  }
  return std::max<int64_t>(kConsumerWarps * 2 * 4, normBytes(kind));
}

LogicalResult GpuEmitter::checkLinear(LinearOp linear) {
  if (!linear.getWeightType().isBF16())
    return refuse(linear, "expects weights of bf16");
  if (linear.getInnerSize() % 32)
    return refuse(linear, "expects rows of a multiple of 32 columns");
  if (!linear.getEpilogue().empty()) {
    for (Operation &op : linear.getEpilogue().front().without_terminator())
      if (!isElementwise(&op) && !isa<SliceOp, RopeOp, KvAppendOp, ArgmaxPartialOp>(op))
        return refuse(&op, "cannot run on the sums of a tile: expected work on single columns");
      else if (auto partial = dyn_cast<ArgmaxPartialOp>(op);
               partial && int64_t(partial.getBlock()) != 4 && int64_t(partial.getBlock()) != 8 &&
               int64_t(partial.getBlock()) != 16)
        return refuse(&op, "expects a block of 4, 8 or 16 columns");
  }
  if (linear.getPrologue().empty())
    return success();
  Block &prologue = linear.getPrologue().front();
  for (Operation &op : prologue.without_terminator()) {
    if (isa<RmsNormOp>(op) && op.getResult(0) == prologue.getTerminator()->getOperand(0))
      continue;
    if (!isElementwise(&op) && !isa<SliceOp, LayerNormOp, SelectRowsOp, CombineOp>(op))
      return refuse(&op, "cannot run before a product: expected work on single columns, or a norm "
                         "as the last operation");
    if (auto slice = dyn_cast<SliceOp>(op); slice && slice.getOffset() % 32)
      return refuse(&op, "expects columns from a multiple of 32 on");
    if (auto combine = dyn_cast<CombineOp>(op);
        combine && (combine.getPartials().getDefiningOp() || combine.getHeadDim() % 32))
      return refuse(&op, "expects the ranges of its attention from memory, in heads of a multiple "
                         "of 32 columns");
  }
  return success();
}

FailureOr<RingPlace> GpuEmitter::emitLinear() {
  auto linear = cast<LinearOp>(kind.getAnchor());
  if (failed(checkLinear(linear)))
    return failure();
  int64_t most =
      kind.getDomain() == mk_task::Domain::tokens ? options.getMaxTokens() : options.getMaxRows();
  Value count = rowCount();
  Type i32 = b.getI32Type();
  SmallVector<Type> types(3, i32);
  auto some = [&]() -> SmallVector<Value> {
    // The sums come later, and the sums of squares are those of another kind of norm.
    prepareNorms(layout.scratch, layout.scratch + kSumBytes);
    if (most <= kGroupRows)
      return emitLinear(linear, 1).values();
    Value few = b.create<arith::CmpIOp>(arith::CmpIPredicate::ule, count, b.index(kGroupRows));
    return b.choose(
        types, few, [&] { return emitLinear(linear, 1).values(); },
        [&] { return emitLinear(linear, 2).values(); });
  };
  // Without rows the loader brings nothing either.
  if (kind.getDomain() == mk_task::Domain::tokens)
    return RingPlace::of(some());
  Value none = b.equal(count, b.index(0));
  return RingPlace::of(b.choose(types, none, [&] { return frame.ring.values(); }, some));
}

/// For 8 * `rowGroups` rows.
RingPlace GpuEmitter::emitLinear(LinearOp linear, int64_t rowGroups) {
  FragmentTile tile(linear.getInnerSize());
  int64_t most = kGroupRows * rowGroups, batch = batchUnits(tile, rowGroups),
          perWarp = llvm::divideCeil(tile.chunkBlocks, kConsumerWarps);
  Type i32 = b.getI32Type();
  VectorType four = vectorOf(4, f32()), words = vectorOf(4, i32);

  Value warp = b.div(thread, 32), lane = b.rem(thread, 32), g = b.div(lane, 4), t = b.rem(lane, 4);
  Value first = b.less(t, b.index(2)); // threads with sums of the first segment
  Value count = rowCount(), begin = field("begin"), end = field("end");
  Value sums = shared(layout.scratch, {2, batch, kConsumerWarps, most, 2}, vectorOf(2, f32()));
  Value scalars = shared(layout.scratch, {2, batch, kConsumerWarps, most, 4}, f32());
  Value squares = shared(layout.scratch + kSumBytes, {kConsumerWarps, most}, f32());
  Value ring = layout.slots(b), full = layout.full(b), empty = layout.empty(b);
  Value used = SharedLayout::flag(b, SharedLayout::kUsed);

  Value rows = linear.getPrologue().empty()
                   ? linear.getInput()
                   : linear.getPrologue().front().getTerminator()->getOperand(0);
  auto norm = rows.getDefiningOp<RmsNormOp>();
  bool gains = norm && norm.getGain() && !tiled.lookup(linear.getWeights().front()).getScale();
  // Rows that are stored as they are multiplied need no arithmetic on the way.
  Value source = norm && !gains ? norm.getInput() : rows;
  auto selected = source.getDefiningOp<SelectRowsOp>();
  if (selected)
    source = selected.getInput();
  bool plain = isa<BlockArgument>(source) &&
               cast<RankedTensorType>(source.getType()).getElementType().isBF16();

  // The fragments of one chunk: [row group][block of the warp] of two segments of four words.
  struct Fragments {
    SmallVector<SmallVector<std::array<SmallVector<Value>, 2>>> words;
    SmallVector<Value> squares; // of the norm's input, by row group
  };
  /// All that a thread loads of one chunk, and as a list: the words, then the squares.
  auto chunkWords = [&](Value chunk) {
    SmallVector<Value> result, squareSums;
    for (int64_t group = 0; group < rowGroups; ++group) {
      // Lanes without a token of their own read another's: what they compute is not looked at.
      Value row = b.min(b.add(g, group * kGroupRows), b.sub(count, b.index(1)));
      Value squareSum = b.constant(f32(), 0.0);
      for (int64_t j = 0; j < perWarp; ++j) {
        Value block = b.add(warp, j * kConsumerWarps);
        for (int64_t s = 0; s < 2; ++s) {
          Value column = b.add(b.mul(b.add(b.mul(chunk, tile.chunkBlocks), block), 64), s * 32);
          // Blocks that pad the last chunk meet zeros, but must not read beyond the row.
          Value segment = b.min(column, b.index(tile.columns - 32));
          FragmentPlace place{row, segment, t};
          auto counts = [&](Value square) {
            Value exists = b.both(b.less(column, b.index(tile.columns)),
                                  b.less(block, b.index(tile.chunkBlocks)));
            return b.select(exists, square, b.constant(f32(), 0.0));
          };
          if (plain) {
            Value source = selected ? readIndex(selected.getRows(), row) : row;
            Value at = b.add(b.div(segment, 8), t);
            Value eight = loadWords(memoryOf(linear.getInput()), 4, {source, at});
            Value square = b.constant(f32(), 0.0);
            for (int64_t e = 0; e < 4; ++e) {
              result.push_back(b.element(eight, e));
              for (Value x : b.halves(result.back()))
                square = b.fma(x, x, square);
            }
            if (norm)
              squareSum = b.fadd(squareSum, counts(square));
            continue;
          }
          SmallVector<Value> x = pullFragment(norm ? norm.getInput() : rows, place);
          if (norm) {
            Value square = b.constant(f32(), 0.0);
            for (Value e : x)
              square = b.fma(e, e, square);
            squareSum = b.fadd(squareSum, counts(square));
            if (gains)
              for (auto [e, gain] :
                   llvm::zip_equal(x, loadFragment(memoryOf(norm.getGain()), place)))
                e = b.fmul(e, gain);
          }
          for (int64_t e = 0; e < 8; e += 2)
            result.push_back(b.packPair(x[e], x[e + 1]));
        }
      }
      if (norm)
        squareSums.push_back(squareSum);
    }
    result.append(squareSums);
    return result;
  };
  auto fragmentsOf = [&](ArrayRef<Value> values) {
    Fragments x;
    for (int64_t group = 0; group < rowGroups; ++group)
      for (auto &block : x.words.emplace_back(perWarp))
        for (auto &segment : block) {
          segment.assign(values.begin(), values.begin() + 4);
          values = values.drop_front(4);
        }
    x.squares.assign(values.begin(), values.end());
    return x;
  };
  auto storeSquares = [&](ArrayRef<Value> values) {
    for (auto [group, value] : llvm::enumerate(values)) {
      Value sum = b.reduceLanes(value, 4, [&](Value x, Value y) { return b.fadd(x, y); });
      b.when(b.equal(t, b.index(0)),
             [&] { b.write(sum, squares, {warp, b.add(g, int64_t(group) * kGroupRows)}); });
    }
  };

  // This thread's words of the blocks of its warp, from a tile in a slot.
  auto loadTile = [&](Value slot, int64_t byte16) {
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
  };
  // The two sums of rows 2t and 2t + 1 (mod 4) that this thread has of a tile, for each row group.
  auto product = [&](Fragments &x, ArrayRef<Value> weights) {
    SmallVector<std::pair<Value, Value>> result;
    SmallVector<Value> acc(2 * rowGroups, b.create<arith::ConstantOp>(b.getZeroAttr(four)));
    for (int64_t j = 0; j < perWarp; ++j)
      for (int64_t group = 0; group < rowGroups; ++group) {
        auto &[low, high] = x.words[group][j];
        for (int64_t k = 0; k < 2; ++k) {
          Value a = b.pack({low[2 * k], high[2 * k], low[2 * k + 1], high[2 * k + 1]});
          Value w = b.pack({b.element(weights[j], 2 * k), b.element(weights[j], 2 * k + 1)});
          acc[2 * group + k] = b.create<mk_cta::MmaOp>(four, a, w, acc[2 * group + k]);
        }
      }
    for (int64_t group = 0; group < rowGroups; ++group) {
      auto mine = [&](int64_t i) {
        auto pick = [&](Value c) { return b.select(first, b.element(c, i), b.element(c, i + 2)); };
        Value sum = b.fadd(pick(acc[2 * group]), pick(acc[2 * group + 1]));
        return b.fadd(sum, b.shuffleXor(sum, 2));
      };
      result.push_back({mine(0), mine(1)});
    }
    return result;
  };

  // The only chunk is under way while the words of the step before are taken back.
  // Ranges of attention are joined in loops, which look at their own words.
  bool joins =
      !linear.getPrologue().empty() && !linear.getPrologue().front().getOps<CombineOp>().empty();
  auto bodyOf = [&](Value chunk) { return [=, &chunkWords] { return chunkWords(chunk); }; };
  auto under = [&](Value chunk) { return joins ? Words() : issue(bodyOf(chunk)); };
  Words only = tile.chunks == 1 ? under(b.index(0)) : Words();
  clearUnits();
  auto arrived = [&](const Words &words, Value chunk) {
    if (joins)
      return fragmentsOf(chunkWords(chunk));
    auto body = bodyOf(chunk);
    return fragmentsOf(replay(settle(words, body, /*together=*/true), body));
  };
  std::optional<Fragments> whole;
  if (tile.chunks == 1) {
    whole = arrived(only, b.index(0));
    storeSquares(whole->squares);
  }

  // The largest value of each unit and row, until those of a block are joined behind a barrier.
  Value best =
      shared(layout.scratch + kSumBytes + kSquareBytes, {2, most, batch}, vectorOf(2, f32()));
  SmallVector<std::pair<ArgmaxPartialOp, const Memory *>> partials;
  for (Output &output : outputs)
    if (auto result = dyn_cast<OpResult>(output.value))
      if (Value value = getYielded(result))
        if (auto partial = value.getDefiningOp<ArgmaxPartialOp>())
          partials.push_back({partial, &*output.memory});
  auto storeAll = [&](Value from, Value buffer) {
    for (auto [partial, memory] : partials)
      storeBest(partial, *memory, best, buffer, from, end);
  };

  SmallVector<Value> carried = frame.ring.values();
  carried.push_back(b.index(0)); // which buffer of sums
  carried = b.loop(begin, end, b.index(batch), carried, [&](Value from, ValueRange state) {
    RingPlace place = RingPlace::of(state);
    Value buffer = state[3];
    Value units = b.min(b.sub(end, from), b.index(batch));
    Value quarter = b.rem(thread, 4), row = b.rem(b.div(thread, 4), most),
          inBatch = b.div(thread, 4 * most);
    Value active = b.both(b.less(row, count), b.less(inBatch, units));
    Value unit = b.add(from, inBatch), inGroup = b.rem(quarter, 2);
    Value second = b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(2));
    loadEarly(linear, row, unit, inGroup, second, active);
    auto chunkLoop = [&](Fragments &x, Value chunk, RingPlace at) {
      bool accumulate = tile.chunks > 1;
      SmallVector<Value> result = b.loop(
          b.index(0), units, b.index(tile.group), at.values(), [&](Value i, ValueRange state) {
            RingPlace here = RingPlace::of(state);
            Value slot = b.toIndex(here.slot);
            b.create<mk_cta::RingAwaitOp>(b.getI1Type(), full, slot, here.parity, Value());
            // The slot is free as soon as its bytes are in registers.
            SmallVector<SmallVector<Value>> weights;
            for (int64_t sub = 0; sub < tile.group; ++sub) // of tiles that do not exist: leftovers
              weights.push_back(loadTile(slot, sub * tile.chunkBytes() / 16));
            SmallVector<Value> read;
            for (auto &words : weights)
              for (Value four : words)
                read.push_back(b.element(four, 0));
            b.create<mk_cta::RingReleaseOp>(empty, slot, read);
            SmallVector<SmallVector<std::pair<Value, Value>>> all;
            for (auto &words : weights)
              all.push_back(product(x, words));
            RingPlace after = b.next(here, layout.stages);
            b.when(b.equal(thread, b.index(0)), [&] { b.write(after.used, used, b.index(0)); });
            for (auto [sub, sumsOf] : llvm::enumerate(all))
              for (auto [group, pair] : llvm::enumerate(sumsOf)) {
                Value unit = b.add(i, int64_t(sub));
                SmallVector<Value> index = {buffer, unit, warp,
                                            b.add(g, int64_t(group) * kGroupRows), b.rem(t, 2)};
                Value mine = first;
                if (sub)
                  mine = b.both(mine, b.less(unit, units));
                b.when(mine, [&, pair = pair] {
                  Value both = b.pack({pair.first, pair.second});
                  if (accumulate) {
                    Value isFirst = b.equal(chunk, b.index(0));
                    Value zero = b.create<arith::ConstantOp>(b.getZeroAttr(vectorOf(2, f32())));
                    both = b.fadd(b.select(isFirst, zero, b.read(sums, index)), both);
                  }
                  b.write(both, sums, index);
                });
              }
            return after.values();
          });
      return RingPlace::of(result);
    };
    if (whole) {
      place = chunkLoop(*whole, b.index(0), place);
    } else {
      // Where registers allow, the next chunk is loaded while this one is multiplied. The first one
      // is loaded again for every batch of units.
      bool ahead = rowGroups == 1 && !norm && !joins;
      SmallVector<Value> init = place.values();
      init.append(norm ? rowGroups : 0, b.constant(f32(), 0.0));
      size_t before = init.size();
      Words next;
      if (ahead) {
        next = under(b.index(0));
        init.append(next.values);
      }
      SmallVector<Value> done = b.loop(
          b.index(0), b.index(tile.chunks), b.index(1), init, [&](Value chunk, ValueRange state) {
            Words words = ahead ? Words{SmallVector<Value>(state.drop_front(before)), next.flagged}
                                : under(chunk);
            Fragments x = arrived(words, chunk);
            Words following;
            if (ahead)
              following = under(b.min(b.add(chunk, 1), b.index(tile.chunks - 1)));
            SmallVector<Value> result = chunkLoop(x, chunk, RingPlace::of(state)).values();
            for (auto [group, square] : llvm::enumerate(x.squares))
              result.push_back(b.fadd(state[3 + group], square));
            result.append(following.values);
            return result;
          });
      place = RingPlace::of(done);
      if (norm) // the same numbers in every batch
        storeSquares(ArrayRef<Value>(done).slice(3, rowGroups));
    }

    b.barrier();
    if (!partials.empty())
      b.when(b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, from, begin),
             [&] { storeAll(b.sub(from, b.index(batch)), b.sub(b.index(1), buffer)); });
    auto scale = [&]() -> Value {
      Value total = b.read(squares, {b.index(0), row});
      for (int64_t w = 1; w < kConsumerWarps; ++w)
        total = b.fadd(total, b.read(squares, {b.index(w), row}));
      return inverseRoot(total, tile.columns, norm.getEps());
    };
    accumulator = [&](int64_t half) -> Value {
      Value column = b.add(inGroup, half * 2);
      Value total = b.read(scalars, {buffer, inBatch, b.index(0), row, column});
      for (int64_t w = 1; w < kConsumerWarps; ++w)
        total = b.fadd(total, b.read(scalars, {buffer, inBatch, b.index(w), row, column}));
      return norm ? b.fmul(total, scale()) : total;
    };
    b.when(active, [&] { forSegments(unit, inGroup, [&] { storeUnit(row, second); }); });
    for (auto [partial, memory] : partials)
      keepBest(partial, row, unit, quarter, active, best, buffer, inBatch);
    SmallVector<Value> next = place.values();
    next.push_back(b.sub(b.index(1), buffer));
    return next;
  });
  early.clear();
  if (!partials.empty()) {
    b.barrier();
    Value batches = b.div(b.sub(b.sub(end, begin), b.index(1)), batch); // before the last one
    storeAll(b.add(begin, b.mul(batches, batch)), b.sub(b.index(1), carried[3]));
  }
  return RingPlace::of(carried);
}
