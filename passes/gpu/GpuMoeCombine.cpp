// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of a `mk.moe_combine`. A warp keeps the weighted sums of all experts of its tokens, each
// added to in the order of the experts, until the warps are joined: one barrier for a few units.
#include "passes/gpu/GpuExperts.h"

using namespace mlir;
using namespace mlir::mk;

static constexpr int64_t kUnits = ChosenExperts::kUnits;

/// A thread's rows of an expert begin at the expert's place among those of their tokens. A token
/// that has not chosen it stands for one that has: what comes of that is not added.
RingPlace GpuEmitter::emitMoeCombine(ExpertTask &task) {
  ChosenExperts &experts = task.experts;
  int64_t together = std::min(kUnits, task.tiles.together()), chunks = task.chunks();
  Value g = b.div(b.rem(thread, 32), 4), zero = b.index(0);
  clearUnits();
  findExperts(b, experts, thread, task.count, watch(), frame.step);
  Value all = b.mul(experts.count(), chunks), last = b.max(zero, b.sub(all, b.index(1)));

  /// Of the expert and chunk that are number i, for each group of rows: who the row is, and with
  /// which weight it counts, if it does.
  struct Turn {
    Value number, chunk, expert;
    SmallVector<Value> has, weights, rows, columns;
  };
  auto turnOf = [&](Value i) {
    Turn turn{b.div(i, chunks), b.rem(i, chunks), {}, {}, {}, {}, {}};
    turn.expert = experts.expert(turn.number);
    for (int64_t group = 0; group < task.rowGroups; ++group) {
      Value row = b.min(b.add(g, group * kGroupRows), b.sub(task.count, b.index(1)));
      auto [has, own] = experts.rankOf(row, turn.expert);
      Value token = b.select(has, row, experts.someToken(turn.number));
      Value rank = experts.rankOf(token, turn.expert).second;
      turn.has.push_back(has);
      turn.weights.push_back(experts.weightOf(token, rank));
      turn.rows.push_back(token);
      turn.columns.push_back(b.mul(rank, task.tile().columns));
    }
    return turn;
  };
  auto bodyOf = [&](const Turn &turn) {
    return [&task, &turn, this] { return expertRows(task, turn.chunk, turn.rows, turn.columns); };
  };
  bool ahead = task.rowGroups == 1; // else there are no registers for it
  Words first;
  if (ahead) {
    Turn turn = turnOf(zero);
    first = issue(bodyOf(turn));
  }

  Value row = b.rem(b.div(thread, 4), task.most), inBatch = b.div(thread, 4 * task.most);
  Value quarter = b.rem(thread, 4);
  Value second = b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(2));
  SmallVector<Value> carried = frame.ring.values();
  carried.push_back(zero); // which buffer of sums
  carried.append(first.values);
  carried = b.loop(zero, task.units, b.index(kUnits), carried, [&](Value from, ValueRange state) {
    Value buffer = state[3], units = b.min(b.sub(task.units, from), b.index(kUnits));
    Value unit = b.add(b.add(task.begin, from), inBatch);
    Value active = b.both(b.less(row, task.count), b.less(inBatch, units));
    loadEarly(task.op, row, unit, b.rem(quarter, 2), second, active);
    SmallVector<Value> nothing = task.tiles.nothing(kUnits);
    size_t totals = 3, sums = totals + 2 * kUnits * task.rowGroups,
           words = sums + (chunks > 1 ? nothing.size() : 0);
    SmallVector<Value> init(state.take_front(3));
    init.append(sums - totals, b.constant(f32(), 0.0));
    if (chunks > 1)
      init.append(nothing);
    init.append(state.begin() + 4, state.end());
    init = b.loop(zero, all, b.index(1), init, [&](Value i, ValueRange state) {
      Turn turn = turnOf(i);
      Words own = ahead ? Words{SmallVector<Value>(state.drop_front(words)), first.flagged}
                        : issue(bodyOf(turn));
      auto body = bodyOf(turn);
      RowFragments x = fragmentsOf(replay(settle(own, body, /*together=*/true), body),
                                   task.rowGroups, task.perWarp());
      Words following; // behind the last: the first one, for the next units
      if (ahead) {
        Turn next = turnOf(b.select(b.less(i, last), b.add(i, 1), zero));
        following = issue(bodyOf(next));
      }
      SmallVector<Value> to = nothing;
      if (chunks > 1)
        to.assign(state.begin() + sums, state.begin() + words);
      RingPlace at = RingPlace::of(state);
      int64_t perUnit = to.size() / kUnits;
      for (int64_t i = 0; i < kUnits; i += together) {
        Value offset =
            experts.offsetOf(task.stream, turn.expert, task.units, b.add(from, i), turn.chunk);
        at = task.tiles.multiply(x, b.index(i), units, offset, at,
                                 MutableArrayRef(to).slice(i * perUnit, together * perUnit));
      }
      SmallVector<Value> result = at.values(), before(state.slice(totals, sums - totals));
      if (chunks == 1) {
        result.append(task.tiles.addWeighted(before, to, turn.weights, turn.has));
      } else {
        before.append(to);
        result.append(b.choose(
            ValueRange(before).getTypes(), b.equal(turn.chunk, b.index(chunks - 1)),
            [&] {
              SmallVector<Value> after = task.tiles.addWeighted(
                  ArrayRef(before).take_front(sums - totals), to, turn.weights, turn.has);
              after.append(nothing);
              return after;
            },
            [&] { return before; }));
      }
      result.append(following.values);
      return result;
    });
    task.tiles.storeTotals(task.sums, buffer, ArrayRef(init).slice(totals, sums - totals));
    b.barrier();
    storeSums(task, buffer, row, unit, inBatch, active);
    SmallVector<Value> next(init.begin(), init.begin() + 3);
    next.push_back(b.sub(b.index(1), buffer));
    next.append(init.begin() + words, init.end());
    return next;
  });
  early.clear();
  return RingPlace::of(carried);
}
