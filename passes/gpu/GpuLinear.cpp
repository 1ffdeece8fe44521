// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of a `tiles` kind: rows to registers, tiles times rows (TileProducts.h), the eight
// warps' sums of a column added in their order, and the epilogue. Nothing depends on the number of
// tokens: the same bits in every batch.
#include "passes/gpu/GpuEmitter.h"
#include "passes/gpu/TileProducts.h"

using namespace mlir;
using namespace mlir::mk;
using mk_task::FragmentTile;

/// Words of rows that a thread may keep for all units of a task.
static constexpr int64_t kResidentWords = 64;
static constexpr int64_t kSumBytes = SharedLayout::kSumBytes,
                         kSquareBytes = SharedLayout::kSquareBytes;

int64_t GpuEmitter::scratchBytes(mk_task::KindOp kind) {
  if (kind.getStreamed())
    return SharedLayout::kProductBytes;
  if (auto route = dyn_cast<TopkRouteOp>(kind.getAnchor()))
    return routeBytes(route);
  if (auto attend = dyn_cast<AttendOp>(kind.getAnchor())) {
    int64_t kept = AttendItems::joins(kind) ? AttendItems::roomFor(attend) : 0;
    return AttendItems::meetingBytes(attend) + kept * AttendItems::rangeBytes(attend);
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

/// A body that uses the ring. A step always has tokens, but perhaps no rows of logits; then the
/// loader brings nothing either.
RingPlace GpuEmitter::ifAnyRows(function_ref<RingPlace()> body) {
  if (kind.getDomain() == mk_task::Domain::tokens)
    return body();
  Type i32 = b.getI32Type();
  Value none = b.equal(rowCount(), b.index(0));
  return RingPlace::of(b.choose(
      TypeRange{i32, i32, i32}, none, [&] { return frame.ring.values(); },
      [&] { return body().values(); }));
}

FailureOr<RingPlace> GpuEmitter::emitLinear() {
  auto linear = cast<LinearOp>(kind.getAnchor());
  if (failed(checkLinear(linear)))
    return failure();
  bool ofTokens = kind.getDomain() == mk_task::Domain::tokens;
  int64_t rows = std::min(most, ofTokens ? options.getMaxTokens() : options.getMaxRows());
  auto some = [&] {
    // The sums come later, and the sums of squares are those of another kind of norm.
    prepareNorms(layout.scratch, layout.scratch + kSumBytes);
    return emitLinear(linear, llvm::divideCeil(rows, kGroupRows));
  };
  return ifAnyRows(some);
}

/// For 8 * `rowGroups` rows.
RingPlace GpuEmitter::emitLinear(LinearOp linear, int64_t rowGroups) {
  FragmentTile tile(linear.getInnerSize());
  TileProducts tiles(b, layout, watch(), tile, rowGroups, thread);
  int64_t most = kGroupRows * rowGroups, batch = TileProducts::batchUnits(tile, rowGroups),
          perWarp = TileProducts::blocksPerWarp(tile);

  Value warp = b.div(thread, 32), lane = b.rem(thread, 32), g = b.div(lane, 4), t = b.rem(lane, 4);
  Value count = rowCount(), begin = field("begin"), end = field("end");
  Value sums = shared(layout.scratch, {2, batch, kConsumerWarps, most, 2}, vectorOf(2, f32()));
  Value scalars = shared(layout.scratch, {2, batch, kConsumerWarps, most, 4}, f32());
  Value squares = shared(layout.scratch + kSumBytes, {kConsumerWarps, most}, f32());
  Value stream = b.wideMul(field("stream"), FragmentTile::kBlockBytes);

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
    RowFragments x;
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

  // Ranges of attention are joined in loops, which look at their own words.
  bool joins =
      !linear.getPrologue().empty() && !linear.getPrologue().front().getOps<CombineOp>().empty();
  auto bodyOf = [&](Value chunk) { return [=, &chunkWords] { return chunkWords(chunk); }; };
  auto under = [&](Value chunk) { return joins ? Words() : issue(bodyOf(chunk)); };
  auto arrived = [&](const Words &words, Value chunk) {
    if (joins)
      return fragmentsOf(chunkWords(chunk));
    auto body = bodyOf(chunk);
    return fragmentsOf(replay(settle(words, body, /*together=*/true), body));
  };
  // Rows that fit the registers are loaded once, and are under way while the words of the step
  // before are taken back. Of others a chunk is multiplied while the next one is loaded, if there
  // are registers for both.
  bool resident = tile.chunks * rowGroups * perWarp * 8 <= kResidentWords;
  bool ahead = !resident && rowGroups == 1 && !joins;
  SmallVector<Words> loaded;
  for (int64_t chunk = 0; chunk < (resident ? tile.chunks : ahead); ++chunk)
    loaded.push_back(under(b.index(chunk)));
  clearUnits();
  SmallVector<RowFragments> whole;
  if (resident) {
    for (auto [chunk, words] : llvm::enumerate(loaded))
      whole.push_back(arrived(words, b.index(chunk)));
    SmallVector<Value> all = whole.front().squares;
    for (const RowFragments &x : ArrayRef(whole).drop_front())
      for (auto [sum, square] : llvm::zip(all, x.squares))
        sum = b.fadd(sum, square);
    storeSquares(all);
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
  if (ahead)
    carried.append(loaded.front().values);
  carried = b.loop(begin, end, b.index(batch), carried, [&](Value from, ValueRange state) {
    RingPlace place = RingPlace::of(state);
    Value buffer = state[3];
    SmallVector<Value> following(state.drop_front(4));
    Value units = b.min(b.sub(end, from), b.index(batch));
    Value quarter = b.rem(thread, 4), row = b.rem(b.div(thread, 4), most),
          inBatch = b.div(thread, 4 * most);
    Value active = b.both(b.less(row, count), b.less(inBatch, units));
    Value unit = b.add(from, inBatch), inGroup = b.rem(quarter, 2);
    Value second = b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(2));
    loadEarly(linear, row, unit, inGroup, second, active);
    int64_t together = std::min(batch, tiles.together());
    // Where a unit's chunk lies in the stream.
    auto offsetOf = [&](Value inBatch, Value chunk) {
      Value number = b.add(b.mul(b.add(b.sub(from, begin), inBatch), tile.chunks), chunk);
      return b.wideAdd(stream, b.wideMul(number, tile.chunkBytes()));
    };
    if (tile.chunks == 1) {
      place = RingPlace::of(
          b.loop(b.index(0), units, b.index(together), place.values(), [&](Value i, ValueRange at) {
            SmallVector<Value> of = tiles.nothing(together);
            RingPlace after = tiles.multiply(whole.front(), i, units, offsetOf(i, b.index(0)),
                                             RingPlace::of(at), of);
            tiles.store(i, sums, buffer, of);
            return after.values();
          }));
    } else {
      // All units of the batch, a chunk of each after the other.
      auto addChunk = [&](const RowFragments &x, Value chunk, RingPlace at,
                          MutableArrayRef<Value> of) {
        int64_t perUnit = of.size() / batch;
        for (int64_t i = 0; i < batch; i += together)
          at = tiles.multiply(x, b.index(i), units, offsetOf(b.index(i), chunk), at,
                              of.slice(i * perUnit, together * perUnit));
        return at;
      };
      SmallVector<Value> of = tiles.nothing(batch);
      if (resident) {
        for (auto [chunk, x] : llvm::enumerate(whole))
          place = addChunk(x, b.index(chunk), place, of);
      } else {
        SmallVector<Value> init = place.values();
        init.append(of);
        init.append(norm ? rowGroups : 0, b.constant(f32(), 0.0));
        init.append(following);
        size_t ofSquares = 3 + of.size(), before = init.size() - following.size();
        init = b.loop(
            b.index(0), b.index(tile.chunks), b.index(1), init, [&](Value chunk, ValueRange state) {
              Words words = ahead ? Words{SmallVector<Value>(state.drop_front(before)),
                                          loaded.front().flagged}
                                  : under(chunk);
              RowFragments x = arrived(words, chunk);
              Words next; // behind the last chunk: the first one, for the next batch
              if (ahead)
                next = under(
                    b.select(b.less(chunk, b.index(tile.chunks - 1)), b.add(chunk, 1), b.index(0)));
              SmallVector<Value> to(state.slice(3, of.size()));
              SmallVector<Value> result = addChunk(x, chunk, RingPlace::of(state), to).values();
              result.append(to);
              for (auto [group, square] : llvm::enumerate(x.squares))
                result.push_back(b.fadd(state[ofSquares + group], square));
              result.append(next.values);
              return result;
            });
        place = RingPlace::of(init);
        of.assign(init.begin() + 3, init.begin() + ofSquares);
        following.assign(init.begin() + before, init.end());
        if (norm) // the same numbers in every batch
          storeSquares(ArrayRef<Value>(init).slice(ofSquares, rowGroups));
      }
      tiles.store(b.index(0), sums, buffer, of);
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
    next.append(following);
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
