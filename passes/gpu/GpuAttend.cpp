// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of an `attend` kind: some query heads of one token against the positions of one range. A
// group of head_dim / 8 threads holds one position; warps and groups take positions in turn, each
// keeps a softmax of its own, and at the end they are joined in a fixed order.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// Query heads that a thread works on together, and positions whose loads are under way together.
static constexpr int64_t kHeads = 4, kRounds = 4;

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
          perRound = kConsumerWarps * perWarp;

  Value warp = b.div(thread, 32), lane = b.rem(thread, 32);
  Value eighth = b.rem(lane, perPosition), mine = b.div(lane, perPosition);
  const Memory &positions = memoryOf(op.getPositions()), &slots = memoryOf(op.getSlots());
  Memory query = memoryOf(op.getQuery()), partials = *outputs[0].memory;
  Value layer = layers.lookup(op.getCache()), tokens = frame.tokens;
  auto maximum = [&](Value x, Value y) { return b.fmax(x, y); };
  auto sum = [&](Value x, Value y) { return b.fadd(x, y); };
  Value lowest = b.constant(f32(), -1e30), zero = b.constant(f32(), 0.0);

  // The step's last position: each lane looks at one token.
  Value token = b.min(b.rem(lane, kMaxRows), b.sub(tokens, b.index(1)));
  Value last = b.reduceLanes(load(positions, token, token), 32, [&](Value x, Value y) -> Value {
    return b.create<arith::MaxSIOp>(x, y);
  });
  Value ranges = b.add(b.div(b.toIndex(last), split), 1);
  Value items = b.mul(b.mul(ranges, tokens), heads * parts);

  Value merged = shared(layout.scratch, {kConsumerWarps, together, headDim + 4}, f32());
  Value mergedFours =
      shared(layout.scratch, {kConsumerWarps, together, headDim / 4 + 1}, vectorOf(4, f32()));

  auto attendItem = [&](Value token, Value range, Value kvHead, Value part, Value seen) {
    Value low = b.mul(range, split), count = b.min(b.sub(seen, low), b.index(split));
    Value slot = b.toIndex(load(slots, token, token));
    Value firstHead = b.add(b.mul(kvHead, group), b.mul(part, together));
    auto headOf = [&](int64_t h) { // heads that do not exist repeat the last one
      return b.min(b.add(firstHead, h), b.add(b.mul(kvHead, group), group - 1));
    };
    SmallVector<SmallVector<Value>> q;
    for (int64_t h = 0; h < together; ++h) {
      Value column = b.add(b.mul(headOf(h), headDim), b.mul(eighth, 8));
      q.push_back(loadFragment(query, {token, column, b.index(0)}));
      for (Value &x : q.back()) // the query is rounded as the keys are
        x = b.widen(b.toBf16(x, /*native=*/true));
    }
    // Of each head: the largest score, the weight, and eight sums.
    SmallVector<Value> init;
    for (int64_t h = 0; h < together; ++h) {
      init.append({lowest, zero});
      init.append(8, zero);
    }
    Value scale = b.constant(f32(), op.getScale().convertToDouble());
    SmallVector<Value> state = b.loop(
        b.index(0), count, b.index(perRound * kRounds), init, [&](Value base, ValueRange carried) {
          SmallVector<SmallVector<Value>> keys, values;
          SmallVector<Value> exists;
          for (int64_t r = 0; r < kRounds; ++r) {
            Value p = b.add(b.add(base, r * perRound), b.add(b.mul(warp, perWarp), mine));
            exists.push_back(b.less(p, count));
            Value position = b.add(low, b.min(p, b.sub(count, b.index(1))));
            Value entry = b.add(b.mul(slot, options.getPagesPerSlot()), b.div(position, page));
            Value block =
                cacheBlock(cache, layer, b.toIndex(readRequest("page_table", entry)), kvHead);
            Memory rows = {
                "kv", block,
                RankedTensorType::get({ShapedType::kDynamic, headDim}, cache.getElementType()),
                headDim * 2, mk_task::Order::natural};
            Value inPage = b.rem(position, page), column = b.mul(eighth, 8);
            keys.push_back(loadFragment(rows, {inPage, column, b.index(0)}));
            values.push_back(loadFragment(rows, {b.add(inPage, page), column, b.index(0)}));
          }
          SmallVector<Value> next;
          for (int64_t h = 0; h < together; ++h) {
            Value top = carried[h * 10];
            SmallVector<Value> scores;
            for (int64_t r = 0; r < kRounds; ++r) {
              Value score = zero;
              for (int64_t e = 0; e < 8; ++e)
                score = b.fma(q[h][e], keys[r][e], score);
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
                sums[e] = b.fma(p, values[r][e], sums[e]);
            }
            next.append({top, weight});
            next.append(sums);
          }
          return next;
        });

    for (int64_t h = 0; h < together; ++h) {
      Value own = state[h * 10], top = b.reduceLanes(own, 32, maximum, perPosition);
      Value keep = b.fastExp(b.fsub(own, top));
      auto joined = [&](Value x) { return b.reduceLanes(b.fmul(x, keep), 32, sum, perPosition); };
      Value weight = joined(state[h * 10 + 1]);
      SmallVector<Value> sums;
      for (int64_t e = 0; e < 8; ++e)
        sums.push_back(joined(state[h * 10 + 2 + e]));
      b.when(b.equal(mine, b.index(0)), [&] {
        for (int64_t i = 0; i < 2; ++i)
          b.write(b.pack(ArrayRef<Value>(sums).slice(4 * i, 4)), mergedFours,
                  {warp, b.index(h), b.add(b.mul(eighth, 2), i)});
        b.when(b.equal(eighth, b.index(0)), [&] {
          b.write(top, merged, {warp, b.index(h), b.index(headDim)});
          b.write(weight, merged, {warp, b.index(h), b.index(headDim + 1)});
        });
      });
    }
    b.barrier();
    Value flat = rowsAs(partials, f32()), pairs = rowsAs(partials, vectorOf(2, f32()));
    b.loop(thread, b.index(together * headDim), b.index(kConsumers), [&](Value i) {
      Value h = b.div(i, headDim), dim = b.rem(i, headDim);
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
      Value head = b.add(firstHead, h);
      Value place = b.add(b.mul(head, splits), range);
      b.when(b.less(head, b.add(b.mul(kvHead, group), group)), [&] {
        Value column = b.add(b.mul(place, headDim), position(dim, mk_task::Order::fragments));
        b.write(total, flat, {token, column});
        b.when(b.equal(dim, b.index(0)), [&] {
          int64_t first = queryHeads * splits * headDim / 2;
          b.write(b.pack({top, weight}), pairs, {token, b.add(place, first)});
        });
      });
    });
    b.barrier(); // the merge buffer may be written again
  };

  Value shares = b.index(*kind.getUnits());
  b.loop(field("begin"), field("end"), b.index(1), [&](Value share) {
    b.loop(share, items, shares, [&](Value item) {
      Value range = b.createOrFold<arith::RemUIOp>(item, ranges);
      Value rest = b.createOrFold<arith::DivUIOp>(item, ranges);
      Value part = b.rem(rest, parts), kvHead = b.rem(b.div(rest, parts), heads);
      Value token = b.div(rest, parts * heads);
      Value seen = b.add(b.toIndex(load(positions, token, token)), 1);
      b.when(b.less(b.mul(range, split), seen),
             [&] { attendItem(token, range, kvHead, part, seen); });
    });
  });
  return frame.ring;
}
