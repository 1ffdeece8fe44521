// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of an `attend` kind: some query heads of one token against the positions of one range. A
// group of head_dim / 8 threads holds one position; warps and groups take positions in turn, each
// keeps a softmax of its own, and at the end they are joined in a fixed order.
//
// A range is a few blocks of positions. The keys and values of a block are under way while the one
// before is worked on, the first even before the task waits: what the step itself adds is not among
// them, but comes as rows beside the query.
#include "passes/gpu/GpuEmitter.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::mk;

/// Query heads that a thread works on together, and positions of a block that a thread holds.
static constexpr int64_t kHeads = 4, kRounds = 4;

namespace {
/// Some heads of a token and a range of positions.
struct Item {
  Value token, range, kvHead, part;
  SmallVector<Value> values() const { return {token, range, kvHead, part}; }
  static Item of(ValueRange values) { return {values[0], values[1], values[2], values[3]}; }
};
} // namespace

FailureOr<RingPlace> GpuEmitter::emitAttend() {
  auto op = cast<AttendOp>(kind.getAnchor());
  CacheType cache = op.getCache().getType();
  int64_t headDim = cache.getHeadDim(), heads = cache.getHeads(), page = options.getPage(),
          queryHeads = getColumns(op.getQuery()) / headDim, group = queryHeads / heads,
          split = op.getSplit(), splits = op.getSplits();
  if (!cache.getElementType().isBF16())
    return refuse(op, "expects a cache of bf16");
  if (!llvm::isPowerOf2_64(headDim) || headDim < 32 || headDim > 256)
    return refuse(op, "expects heads of 32, 64, 128 or 256 columns");
  int64_t together = std::min(group, kHeads), parts = llvm::divideCeil(group, together);
  int64_t perPosition = headDim / 8, perWarp = 32 / perPosition,
          perRound = kConsumerWarps * perWarp, perBlock = perRound * kRounds,
          blocks = llvm::divideCeil(split, perBlock);

  Type i32 = b.getI32Type();
  Value warp = b.div(thread, 32), lane = b.rem(thread, 32);
  Value eighth = b.rem(lane, perPosition), mine = b.div(lane, perPosition);
  Value inHead = b.mul(eighth, 8);
  const Memory &positions = memoryOf(op.getPositions()), &slots = memoryOf(op.getSlots());
  Memory query = memoryOf(op.getQuery()), partials = *outputs[0].memory;
  Value layer = layers.lookup(op.getCache());
  auto maximum = [&](Value x, Value y) { return b.fmax(x, y); };
  auto sum = [&](Value x, Value y) { return b.fadd(x, y); };
  Value lowest = b.constant(f32(), -1e30), zero = b.constant(f32(), 0.0);
  Value merged = shared(layout.scratch, {kConsumerWarps, together, headDim + 4}, f32());

  // The items of a step's ranges and tokens, of which each share takes every so many.
  auto rangesOf = [&](bool before) {
    return b.add(b.div(sizeOf(SharedLayout::lastPosition, before), split), 1);
  };
  auto itemsOf = [&](Value ranges, bool before) {
    return b.mul(b.mul(ranges, sizeOf(SharedLayout::tokens, before)), heads * parts);
  };
  auto decode = [&](Value number, Value ranges) -> Item {
    auto [rest, range] = b.divide32(number, ranges);
    return {b.div(rest, parts * heads), range, b.rem(b.div(rest, parts), heads),
            b.rem(rest, parts)};
  };
  auto firstHead = [&](Item item) {
    return b.add(b.mul(item.kvHead, group), b.mul(item.part, together));
  };
  auto endOfHeads = [&](Item item) { return b.add(b.mul(item.kvHead, group), group); };
  auto seenBy = [&](Item item) {
    return b.add(b.toIndex(load(positions, item.token, item.token)), 1);
  };
  // The words of an item in the result: a thread's sums, and the pair of largest score and weight.
  auto eachColumn = [&](Item item,
                        function_ref<void(Value h, Value dim, Value sum, Value pair)> body) {
    b.loop(thread, b.index(together * headDim), b.index(kConsumers), [&](Value i) {
      Value h = b.div(i, headDim), dim = b.rem(i, headDim), head = b.add(firstHead(item), h);
      Value place = b.add(b.mul(head, splits), item.range);
      Value sum = b.add(b.mul(place, headDim), position(dim, mk_task::Order::fragments));
      Value pair = b.mul(b.add(place, queryHeads * splits * headDim / 2), 2);
      b.when(b.less(head, endOfHeads(item)), [&] { body(h, dim, sum, pair); });
    });
  };
  // The items of this task's shares, one after the other: of every `shares` items those from
  // `begin` to `end`.
  Value begin = field("begin"), width = b.sub(field("end"), begin);
  int64_t shares = *kind.getUnits();
  auto countOf = [&](Value items) {
    Value rest = b.max(b.index(0), b.sub(b.rem(items, shares), begin));
    return b.add(b.mul(b.div(items, shares), width), b.min(rest, width));
  };
  auto numberOf = [&](Value i) {
    auto [turn, inTurn] = b.divide32(i, width);
    return b.add(b.add(b.mul(turn, shares), begin), inTurn);
  };
  auto clearBefore = [&] {
    if (!partials.flagged)
      return;
    Value ranges = rangesOf(true);
    Value cleared = rowsAs(otherCopy(partials), i32);
    b.loop(b.index(0), countOf(itemsOf(ranges, true)), b.index(1), [&](Value i) {
      Item item = decode(numberOf(i), ranges);
      auto clear = [&](Value place) {
        b.create<mk_cta::ClearFlaggedOp>(cleared, ValueRange{item.token, place});
      };
      eachColumn(item, [&](Value, Value dim, Value sum, Value pair) {
        clear(sum);
        b.when(b.less(dim, b.index(2)), [&] { clear(b.add(pair, dim)); });
      });
    });
  };

  // The positions of a block that this thread holds, and whether the token sees them.
  auto positionOf = [&](Item item, Value block, int64_t round) {
    Value inRange = b.add(b.mul(block, perBlock), b.add(b.mul(warp, perWarp), mine));
    return b.add(b.mul(item.range, split), b.add(inRange, round * perRound));
  };
  auto endOf = [&](Item item) { return b.min(seenBy(item), b.mul(b.add(item.range, 1), split)); };
  // Keys and values, four words each, of every round; of positions that do not exist those of
  // others.
  auto loadBlock = [&](Item item, Value block) {
    SmallVector<Value> result;
    Value slot = b.toIndex(load(slots, item.token, item.token)), seen = seenBy(item);
    for (int64_t r = 0; r < kRounds; ++r) {
      Value p = b.min(positionOf(item, block, r), b.sub(seen, b.index(1)));
      Value block = b.toIndex(pageAt(item.token, slot, b.div(p, page)));
      Value place = cacheBlock(cache, layer, block, item.kvHead);
      Value rows = view("kv", place, {2 * page, headDim / 8}, {headDim / 8, 1}, vectorOf(4, i32));
      Value inPage = b.rem(p, page);
      result.push_back(b.read(rows, {inPage, eighth}));
      result.push_back(b.read(rows, {b.add(inPage, page), eighth}));
    }
    return result;
  };
  // The rows of the step that hold the positions of a block; -1: it is in the cache.
  bool forwarded = !op.getNewRows().empty();
  auto findNew = [&](Item item, Value block) {
    SmallVector<Value> none(forwarded ? kRounds : 0, b.integer(-1));
    if (!forwarded)
      return none;
    Value slot = load(slots, item.token, item.token);
    return b.loop(b.index(0), frame.tokens, b.index(1), none, [&](Value row, ValueRange found) {
      Value here = load(positions, row, row), ofSlot = b.equal(load(slots, row, row), slot);
      SmallVector<Value> next;
      for (int64_t r = 0; r < kRounds; ++r) {
        Value same = b.equal(here, b.toI32(positionOf(item, block, r)));
        next.push_back(b.select(b.both(ofSlot, same), b.toI32(row), found[r]));
      }
      return next;
    });
  };
  // The query, and of every round the key and the value from the rows of the step, if they are
  // there.
  auto loadFresh = [&](Item item, ValueRange rows) {
    return whenWritten(
        [&] {
          SmallVector<Value> result;
          for (int64_t h = 0; h < together; ++h) {
            // Heads that do not exist repeat the last one.
            Value head = b.min(b.add(firstHead(item), h), b.sub(endOfHeads(item), b.index(1)));
            Value column = b.add(b.mul(head, headDim), inHead);
            for (Value x : loadFragment(query, {item.token, column, b.index(0)}))
              result.push_back(b.widen(b.toBf16(x, /*native=*/true))); // rounded as the keys are
          }
          for (Value row : rows)
            for (Value source : op.getNewRows()) {
              Value real = b.toIndex(b.create<arith::MaxSIOp>(row, b.integer(0)));
              Value column = b.add(b.mul(item.kvHead, headDim / 8), eighth);
              result.push_back(loadWords(memoryOf(source), 4, {real, column}));
            }
          return result;
        },
        /*together=*/true);
  };

  // Of each head: the largest score, the weight, and eight sums.
  SmallVector<Value> nothing;
  for (int64_t h = 0; h < together; ++h) {
    nothing.append({lowest, zero});
    nothing.append(8, zero);
  }
  Value scale = b.constant(f32(), op.getScale().convertToDouble());
  auto addBlock = [&](Item item, Value block, ValueRange carried, ArrayRef<Value> queries,
                      ArrayRef<Value> words) {
    SmallVector<Value> exists, next;
    Value end = endOf(item);
    for (int64_t r = 0; r < kRounds; ++r)
      exists.push_back(b.less(positionOf(item, block, r), end));
    auto element = [&](int64_t r, int64_t which, int64_t e) {
      return halves(b.element(words[2 * r + which], e / 2))[e % 2];
    };
    for (int64_t h = 0; h < together; ++h) {
      Value top = carried[h * 10];
      SmallVector<Value> scores;
      for (int64_t r = 0; r < kRounds; ++r) {
        Value score = zero;
        for (int64_t e = 0; e < 8; ++e)
          score = b.fma(queries[8 * h + e], element(r, 0, e), score);
        score = b.fmul(b.reduceLanes(score, perPosition, sum), scale);
        scores.push_back(b.select(exists[r], score, lowest));
        top = b.fmax(top, scores.back());
      }
      Value keep = b.fastExp(b.fsub(carried[h * 10], top));
      Value weight = b.fmul(carried[h * 10 + 1], keep);
      SmallVector<Value> sums;
      for (int64_t e = 0; e < 8; ++e)
        sums.push_back(b.fmul(carried[h * 10 + 2 + e], keep));
      for (int64_t r = 0; r < kRounds; ++r) {
        // A group of threads without a position has no largest score of its own either.
        Value p = b.select(exists[r], b.fastExp(b.fsub(scores[r], top)), zero);
        weight = b.fadd(weight, p);
        for (int64_t e = 0; e < 8; ++e)
          sums[e] = b.fma(p, element(r, 1, e), sums[e]);
      }
      next.append({top, weight});
      next.append(sums);
    }
    return next;
  };

  auto storeItem = [&](Item item, ValueRange state) {
    for (int64_t h = 0; h < together; ++h) {
      Value own = state[h * 10], top = b.reduceLanes(own, 32, maximum, perPosition);
      Value keep = b.fastExp(b.fsub(own, top));
      auto joined = [&](Value x) { return b.reduceLanes(b.fmul(x, keep), 32, sum, perPosition); };
      Value weight = joined(state[h * 10 + 1]);
      // Of the eight sums each group of threads ends with a part: half as many at every exchange.
      SmallVector<Value> sums;
      for (int64_t e = 0; e < 8; ++e)
        sums.push_back(b.fmul(state[h * 10 + 2 + e], keep));
      Value place = inHead;
      for (int64_t mask = perPosition; mask < 32; mask *= 2) {
        Value upper = b.equal(b.rem(b.div(lane, mask), 2), b.index(1));
        int64_t half = sums.size() / 2;
        SmallVector<Value> kept;
        for (int64_t e = 0; e < half; ++e) {
          Value given = b.select(upper, sums[e], sums[half + e]);
          Value own = b.select(upper, sums[half + e], sums[e]);
          kept.push_back(b.fadd(own, b.shuffleXor(given, mask)));
        }
        sums = kept;
        place = b.add(place, b.select(upper, b.index(half), b.index(0)));
      }
      int64_t width = std::min<int64_t>(sums.size(), 4);
      Value parts = shared(layout.scratch, {kConsumerWarps, together, (headDim + 4) / width},
                           vectorOf(width, f32()));
      for (size_t e = 0; e < sums.size(); e += width)
        b.write(b.pack(ArrayRef<Value>(sums).slice(e, width)), parts,
                {warp, b.index(h), b.add(b.div(place, width), e / width)});
      b.when(b.equal(lane, b.index(0)), [&] {
        b.write(top, merged, {warp, b.index(h), b.index(headDim)});
        b.write(weight, merged, {warp, b.index(h), b.index(headDim + 1)});
      });
    }
    b.barrier();
    eachColumn(item, [&](Value h, Value dim, Value sumPlace, Value pairPlace) {
      auto of = [&](int64_t w, Value column) { return b.read(merged, {b.index(w), h, column}); };
      Value top = of(0, b.index(headDim));
      for (int64_t w = 1; w < kConsumerWarps; ++w)
        top = b.fmax(top, of(w, b.index(headDim)));
      Value weight = zero, total = zero;
      for (int64_t w = 0; w < kConsumerWarps; ++w) {
        Value keep = b.fastExp(b.fsub(of(w, b.index(headDim)), top));
        weight = b.fma(keep, of(w, b.index(headDim + 1)), weight);
        total = b.fma(keep, of(w, dim), total);
      }
      auto put = [&](Value x, Value place) {
        storeWord(b.create<arith::BitcastOp>(i32, x), partials, item.token, place);
      };
      put(total, sumPlace);
      b.when(b.equal(dim, b.index(0)), [&] {
        put(top, pairPlace);
        put(weight, b.add(pairPlace, 1));
      });
    });
    b.barrier(); // the merge buffer may be written again
  };

  // One block after the other, of one item after the other; the next one is always under way.
  Value ranges = rangesOf(false), items = itemsOf(ranges, false);
  Value total = b.mul(countOf(items), blocks);
  auto placeOf = [&](Value i) {
    Value number = b.min(numberOf(b.div(i, blocks)), b.sub(items, b.index(1)));
    return std::pair(decode(number, ranges), b.rem(i, blocks));
  };
  auto under = [&](Value i) { // a block's words, and which of them are in rows of the step
    auto [item, block] = placeOf(i);
    SmallVector<Value> result = loadBlock(item, block);
    result.append(findNew(item, block));
    result.append(item.values());
    return result;
  };
  auto work = [&](ValueRange first) {
    // Between the blocks of an item its state and query stay in registers.
    SmallVector<Value> init(first.begin(), first.end());
    size_t words = 2 * kRounds, carriedOver = init.size(), queryWords = 8 * together;
    if (blocks > 1) {
      init.append(nothing);
      init.append(queryWords, zero);
    }
    auto typesOf = [](ArrayRef<Value> values) {
      return llvm::map_to_vector(values, [](Value value) { return value.getType(); });
    };
    SmallVector<Type> stateTypes = typesOf(ArrayRef<Value>(init).drop_front(carriedOver));
    b.loop(b.index(0), total, b.index(1), init, [&](Value i, ValueRange carried) {
      // Where it is was found out when it was asked for: divisions take their time.
      Item item = Item::of(carried.slice(carriedOver - 4, 4));
      Value block = b.rem(i, blocks);
      Value start = b.add(b.mul(item.range, split), b.mul(block, perBlock));
      Value exists = b.less(start, endOf(item)), isFirst = b.equal(block, b.index(0));
      Value following = b.add(i, 1);
      SmallVector<Value> result = b.choose(
          typesOf(SmallVector<Value>(first)), b.less(following, total),
          [&] { return under(following); },
          [&] { return SmallVector<Value>(carried.take_front(carriedOver)); });
      ValueRange kept = carried.drop_front(carriedOver);
      ValueRange rows = carried.slice(words, carriedOver - 4 - words);
      SmallVector<Value> state = b.choose(
          stateTypes, exists,
          [&] {
            SmallVector<Value> before(nothing), fresh;
            if (blocks == 1) {
              fresh = loadFresh(item, rows);
            } else {
              for (size_t n = 0; n < nothing.size(); ++n)
                before[n] = b.select(isFirst, nothing[n], kept[n]);
              // Later blocks have the query, and mostly nothing from this step.
              Value needed = isFirst;
              for (Value row : rows)
                needed = b.createOrFold<arith::OrIOp>(
                    needed, b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, row, b.integer(0)));
              needed = b.create<NVVM::VoteBallotOp>(i32, b.integer(-1), needed);
              needed = b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, needed, b.integer(0));
              SmallVector<Value> given(kept.drop_front(nothing.size()));
              given.append(carried.begin(), carried.begin() + rows.size() * 2);
              fresh = b.choose(
                  typesOf(given), needed, [&] { return loadFresh(item, rows); },
                  [&] { return given; });
            }
            SmallVector<Value> all;
            for (size_t n = 0; n < words; ++n) {
              Value word = carried[n];
              if (forwarded) {
                Value found =
                    b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, rows[n / 2], b.integer(0));
                word = b.select(found, fresh[queryWords + n], word);
              }
              all.push_back(word);
            }
            SmallVector<Value> next = addBlock(item, block, before, fresh, all);
            if (blocks == 1) {
              storeItem(item, next);
              return SmallVector<Value>();
            }
            b.when(b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, b.add(start, perBlock),
                                           endOf(item)),
                   [&] { storeItem(item, next); });
            next.append(fresh.begin(), fresh.begin() + queryWords);
            return next;
          },
          [&] { return SmallVector<Value>(kept); });
      result.append(state);
      return result;
    });
  };
  // Kinds without anything that this step adds have nothing to do before their wait.
  SmallVector<Value> first = under(b.index(0));
  clearBefore();
  if (!waitsItself(kind)) {
    work(first);
    return frame.ring;
  }
  Waiter waiter{b, frame.context, frame.worker, thread};
  Value arrived = waiter.wait(frame.instruction, frame.number, frame.step);
  b.when(arrived, [&] { work(first); });
  return frame.ring;
}
