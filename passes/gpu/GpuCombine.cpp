// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Joins the ranges of attention: those of a column by a thread or by eight lanes, from memory; or
// all that one CTA has had, on the chip. Either way a row gets the same bits.
#include "passes/cpu/Ranges.h"
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// Ranges of an attention whose loads are under way together.
static constexpr int64_t kRangesAtOnce = 8;
/// Lanes that share the ranges of a column, where there are more than one thread loads at once.
static constexpr int64_t kRangeLanes = 8;
/// The score of what does not exist.
static constexpr double kNoScore = -1e30;

/// Of a column: the largest score, the weight and the sums before any range. A sink weighs 1 at its
/// own score, and adds nothing to the sums; `first`: where it counts, null for everywhere.
SmallVector<Value> GpuEmitter::noRanges(CombineOp op, Value row, Value head, int64_t parts,
                                        Value first) {
  SmallVector<Value> result = {b.constant(f32(), kNoScore), b.constant(f32(), 0.0)};
  if (op.getSinks()) {
    Value sink = load(memoryOf(op.getSinks()), row, head), one = b.constant(f32(), 1.0);
    result = {first ? b.select(first, sink, result[0]) : sink,
              first ? b.select(first, one, result[1]) : one};
  }
  result.append(parts, b.constant(f32(), 0.0));
  return result;
}

/// What has been joined, and more ranges in ascending order.
SmallVector<Value> GpuEmitter::weigh(ValueRange joined, ArrayRef<Value> tops,
                                     ArrayRef<Value> weights, ArrayRef<SmallVector<Value>> sums) {
  assert(tops.size() == sums.size() && weights.size() == sums.size());
  Value top = joined[0];
  for (Value other : tops)
    top = b.fmax(top, other);
  Value keep = b.fastExp(b.fsub(joined[0], top));
  SmallVector<Value> next = {top, b.fmul(joined[1], keep)};
  for (size_t p = 2; p < joined.size(); ++p)
    next.push_back(b.fmul(joined[p], keep));
  for (auto [i, of] : llvm::enumerate(sums)) {
    Value weight = b.fastExp(b.fsub(tops[i], top));
    next[1] = b.fma(weight, weights[i], next[1]);
    for (auto [p, sum] : llvm::enumerate(of))
      next[2 + p] = b.fma(weight, sum, next[2 + p]);
  }
  return next;
}

/// Two columns' halves of the ranges as one.
SmallVector<Value> GpuEmitter::joinLanes(ArrayRef<Value> low, ArrayRef<Value> high) {
  Value top = b.fmax(low[0], high[0]);
  Value mine = b.fastExp(b.fsub(low[0], top)), theirs = b.fastExp(b.fsub(high[0], top));
  SmallVector<Value> result = {top};
  for (int64_t p : {1, 2})
    result.push_back(b.fma(low[p], mine, b.fmul(high[p], theirs)));
  return result;
}

/// Of a thread: every so many ranges from its own first one on, in ascending order, with the
/// running maximum, some at a time. Ranges that do not exist are read as the last one that does,
/// and weigh nothing.
SmallVector<Value> GpuEmitter::addRanges(CombineOp op, Value row, Value head, int64_t parts,
                                         RangeLane lane,
                                         function_ref<SmallVector<Value>(Value)> loadSums) {
  int64_t headDim = op.getHeadDim(), splits = op.getSplits();
  const Memory &partials = memoryOf(op.getPartials());
  int64_t pairs = partials.columns() / (headDim + 2) * headDim / 2; // where the scores begin
  Value last = lastRange(b, readIndex(op.getPositions(), row), op.getWindow(), op.getSplit());
  int64_t together = std::min<int64_t>(kRangesAtOnce, llvm::divideCeil(splits, lane.count));
  SmallVector<Value> init = noRanges(op, row, head, parts, b.equal(lane.number, b.index(0)));
  auto step = [&](Value first, ValueRange carried) {
    SmallVector<Value> tops, weights;
    SmallVector<SmallVector<Value>> sums;
    auto loadAll = [&] {
      SmallVector<Value> all;
      for (int64_t i = 0; i < together; ++i) {
        Value real = b.min(b.add(first, i * lane.count), last);
        Value place = b.add(b.add(b.mul(head, splits), real), pairs);
        Value pair = loadWords(partials, 2, {row, place});
        for (int64_t e = 0; e < 2; ++e)
          all.push_back(b.create<arith::BitcastOp>(f32(), b.element(pair, e)));
        all.append(loadSums(b.add(b.mul(head, splits), real)));
      }
      return all;
    };
    SmallVector<Value> loaded = whenWritten(loadAll, /*together=*/false);
    for (int64_t i = 0; i < together; ++i) {
      Value range = b.add(first, i * lane.count);
      ArrayRef<Value> of = ArrayRef<Value>(loaded).slice(i * (2 + parts), 2 + parts);
      Value exists = b.create<arith::CmpIOp>(arith::CmpIPredicate::sle, range, last);
      tops.push_back(b.select(exists, of[0], b.constant(f32(), kNoScore)));
      weights.push_back(b.select(exists, of[1], b.constant(f32(), 0.0)));
      sums.push_back(SmallVector<Value>(of.drop_front(2)));
      for (Value &part : sums.back())
        part = b.select(exists, part, b.constant(f32(), 0.0));
    }
    return weigh(carried, tops, weights, sums);
  };
  assert(!loads && "loads in a loop are its own");
  return b.loop(lane.number, b.add(last, 1), b.index(together * lane.count), init, step);
}

SmallVector<Value> GpuEmitter::joinRanges(CombineOp op, Value row, Value head, int64_t parts,
                                          function_ref<SmallVector<Value>(Value)> loadSums) {
  SmallVector<Value> joined = addRanges(op, row, head, parts, {b.index(0), 1}, loadSums);
  SmallVector<Value> result;
  Value inverse = b.inverse(joined[1]);
  for (int64_t p = 0; p < parts; ++p)
    result.push_back(b.fmul(joined[2 + p], inverse));
  return result;
}

SmallVector<Value> GpuEmitter::loadSum(CombineOp op, Value row, Value range, Value dim) {
  Value place = b.add(b.mul(range, op.getHeadDim()), position(dim, mk_task::Order::fragments));
  Value word = loadWords(memoryOf(op.getPartials()), 1, {row, place});
  return {b.create<arith::BitcastOp>(f32(), word)};
}

Value GpuEmitter::pullCombine(CombineOp op, Value row, Column column) {
  Value head = b.div(at(column), op.getHeadDim()), dim = b.rem(at(column), op.getHeadDim());
  return joinRanges(op, row, head, 1, [&](Value range) { return loadSum(op, row, range, dim); })[0];
}

/// The ranges of a run, whose last item is given, are in `kept`: [range][head][column], then the
/// largest score and the weight. For all threads of the CTA. The arithmetic is that of joins from
/// memory, with its ranges that do not exist: they turn a sum of -0 into 0.
void GpuEmitter::joinOnChip(AttendItems &items, Item item, Value kept) {
  auto op = outputs[1].value.getDefiningOp<CombineOp>();
  int64_t headDim = items.headDim, splits = op.getSplits();
  Value last = lastRange(b, readIndex(op.getPositions(), item.token), op.getWindow(), items.split);
  b.barrier(); // both teams have kept theirs
  b.loop(thread, b.index(items.together * headDim), b.index(kConsumers), [&](Value i) {
    Value h = b.div(i, headDim), dim = b.rem(i, headDim), head = b.add(items.firstHead(item), h);
    b.when(b.less(head, items.endOfHeads(item)), [&] {
      SmallVector<Value> tops, weights;
      SmallVector<SmallVector<Value>> parts;
      auto add = [&](Value exists, int64_t range) {
        auto read = [&](Value column, double otherwise) {
          Value none = b.constant(f32(), otherwise);
          return exists ? b.select(exists, b.read(kept, {b.index(range), h, column}), none) : none;
        };
        tops.push_back(read(b.index(headDim), kNoScore));
        weights.push_back(read(b.index(headDim + 1), 0.0));
        parts.push_back({read(dim, 0.0)});
      };
      for (int64_t range = 0; range < items.room; ++range)
        add(b.less(b.index(range), b.add(last, 1)), range);
      add({}, 0); // one stands for all that cannot exist
      SmallVector<Value> joined;
      if (splits <= kRangesAtOnce) {
        size_t count = std::min<size_t>(splits, tops.size());
        joined = weigh(noRanges(op, item.token, head, 1), ArrayRef(tops).take_front(count),
                       ArrayRef(weights).take_front(count), ArrayRef(parts).take_front(count));
      } else { // in the order of emitCombine's lanes
        SmallVector<SmallVector<Value>> lanes;
        for (int64_t lane = 0; lane < kRangeLanes; ++lane) {
          lanes.push_back(noRanges(op, item.token, head, 1, b.integer(lane == 0, 1)));
          if (lane < items.room)
            lanes.back() = weigh(lanes.back(), {tops[lane], tops.back()},
                                 {weights[lane], weights.back()}, {parts[lane], parts.back()});
        }
        for (; lanes.size() > 1; lanes.resize(lanes.size() / 2))
          for (size_t lane = 0; lane < lanes.size() / 2; ++lane)
            lanes[lane] = joinLanes(lanes[2 * lane], lanes[2 * lane + 1]);
        joined = lanes[0];
      }
      store(b.fmul(joined[2], b.inverse(joined[1])), *outputs[1].memory, item.token,
            b.add(b.mul(head, headDim), dim));
    });
  });
  b.barrier(); // before ranges of the next run are kept
}

/// The combine of a kind that is nothing else, in one segment, and has many ranges.
CombineOp GpuEmitter::findLongCombine() {
  auto op = dyn_cast<CombineOp>(kind.getAnchor());
  bool plain = op && llvm::hasSingleElement(kind.getBody().front().without_terminator()) &&
               kind.getSegmentsAttr().size() == 1;
  return plain && op.getSplits() > kRangesAtOnce ? op : CombineOp();
}

/// Whether the step's ranges have been joined by those who attended; null: never.
Value GpuEmitter::joinedOnChip() {
  mk_task::KindOp attend = AttendItems::findJoiner(program, kind);
  if (!attend)
    return {};
  AttendItems items(b, attend, options, most);
  return items.deal([&](auto size) { return sizeOf(size, /*before=*/false); }).joined;
}

/// Many ranges: a warp has a unit of a row, and eight lanes the ranges of each of its four columns.
/// They are joined by shuffles in one order.
void GpuEmitter::emitCombine(CombineOp op, Value units) {
  Value begin = field("begin");
  Value lane = b.rem(thread, 32), quarter = b.rem(lane, 4), inGroup = b.rem(quarter, 2);
  Value second = b.less(b.index(1), quarter);
  b.loop(b.div(thread, 32), b.mul(units, rowCount()), b.index(kConsumerWarps), [&](Value i) {
    auto [row, inRow] = b.divide32(i, units);
    eachSegment(b.add(begin, inRow), inGroup, [&](Value) {
      Value column = b.select(second, at(groups.b), at(groups.a));
      Value head = b.div(column, op.getHeadDim()), dim = b.rem(column, op.getHeadDim());
      SmallVector<Value> own = addRanges(op, row, head, 1, {b.div(lane, 4), kRangeLanes},
                                         [&](Value range) { return loadSum(op, row, range, dim); });
      for (int64_t mask = 4; mask < 32; mask *= 2) {
        SmallVector<Value> other;
        for (Value value : own)
          other.push_back(b.shuffleXor(value, mask));
        own = joinLanes(own, other);
      }
      early[{groups.segment, op.getResult().getAsOpaquePointer()}].values = {
          b.fmul(own[2], b.inverse(own[1]))};
      b.when(b.less(lane, b.index(4)), [&] { storeUnit(row, second); });
    });
  });
  early.clear();
}
