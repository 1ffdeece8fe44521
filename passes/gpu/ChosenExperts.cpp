// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/ChosenExperts.h"

#include "dialects/mk_cta/MkCta.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::mk;

/// Words of routes that a lane has under way together.
static constexpr int64_t kWordsAtOnce = 8;

int64_t ChosenExperts::chosenOf(mk_task::KindOp kind) {
  Operation *anchor = kind.getAnchor();
  if (auto linear = dyn_cast<MoeLinearOp>(anchor))
    return linear.getChosen();
  return cast<MoeCombineOp>(anchor).getChosen();
}

int64_t ChosenExperts::expertsOf(mk_task::KindOp kind) {
  return cast<RankedTensorType>(kind.getStreamed().getType()).getDimSize(0);
}

int64_t ChosenExperts::listBytes(mk_task::KindOp kind, bool ofLoader) {
  int64_t experts = expertsOf(kind), groups = llvm::divideCeil(experts, 32);
  int64_t words = experts + 1;
  if (!ofLoader)
    words += experts + kMaxRows * (2 * groups + chosenOf(kind));
  return llvm::alignTo(4 * words, 16);
}

ChosenExperts::ChosenExperts(GpuBuilder &b, const SharedLayout &layout, mk_task::KindOp kind,
                             Value route, int64_t pitch, RouteReader reader)
    : tile(getColumns(kind.getStreamed())), b(b), experts(expertsOf(kind)), chosen(chosenOf(kind)),
      place(reader.loader ? layout.loaderList : layout.consumerList), reader(reader) {
  words = b.view(reader.context, "activations", route, {ShapedType::kDynamic, experts},
                 {pitch / 4, 1}, b.getI32Type());
  lane = b.rem(b.thread(), 32);
}

/// Of each row the words of experts lane, lane + 32, ..., perhaps not written.
SmallVector<Value> ChosenExperts::wordsOf(ValueRange rows) {
  SmallVector<Value> result;
  for (Value row : rows)
    for (int64_t group = 0; group < groups(); ++group) {
      Value expert = b.min(b.add(lane, group * 32), b.index(experts - 1));
      result.push_back(b.create<mk_cta::LoadFlaggedOp>(words, ValueRange{row, expert}));
    }
  return result;
}

SmallVector<Value> ChosenExperts::waitForWords(ValueRange rows) {
  Type i32 = b.getI32Type();
  // A loader that waits too long tells the consumers to leave, and leaves when they do.
  Value leave = SharedLayout::flag(b, reader.loader ? SharedLayout::kQuit : SharedLayout::kOverdue);
  SmallVector<Value> state = wordsOf(rows);
  size_t count = state.size();
  state.append({b.integer(0, 64), b.integer(1, 1)}); // when the wait began, and whether to go on
  state = b.loopWhile(
      state,
      [&](ValueRange at) -> Value {
        Value largest = at[0];
        for (Value word : at.slice(1, count - 1))
          largest = b.create<arith::MaxUIOp>(largest, word);
        Value missing = b.both(b.equal(largest, b.integer(-1)), at[count + 1]);
        Value all = b.create<NVVM::VoteBallotOp>(i32, b.integer(-1), missing);
        return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, all, b.integer(0));
      },
      [&](ValueRange at) {
        auto again = b.create<mk_cta::LookAgainOp>(b.getI64Type(), b.getI1Type(), reader.context,
                                                   reader.worker, reader.number, leave, at[count],
                                                   reader.loader);
        SmallVector<Value> next = wordsOf(rows);
        next.append(again->result_begin(), again->result_end());
        return next;
      });
  if (reader.loader)
    b.when(b.equal(state[count + 1], b.integer(0, 1)), [&] {
      b.write(b.integer(1), SharedLayout::flag(b, SharedLayout::kOverdue), b.index(0));
    });
  state.resize(count);
  return state;
}

void ChosenExperts::find(Value count) {
  Type i32 = b.getI32Type();
  Value zero = b.integer(0);
  Value below = b.create<arith::ShLIOp>(b.integer(1), b.toI32(lane));
  below = b.create<arith::SubIOp>(below, b.integer(1)); // lanes with a lower number
  auto both = [&](Value x, Value y) -> Value { return b.create<arith::AndIOp>(x, y); };
  auto bitsBelow = [&](Value mask) -> Value { return b.create<math::CtPopOp>(both(mask, below)); };
  auto ballot = [&](Value which) -> Value {
    return b.create<NVVM::VoteBallotOp>(i32, b.integer(-1), which);
  };
  auto notZero = [&](Value mask) -> Value {
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, mask, zero);
  };
  b.syncWarp(); // all lanes are done with the list before
  int64_t together = std::max<int64_t>(1, kWordsAtOnce / groups());
  // Carried: of each group the experts that any token has; for consumers a token of this lane's.
  SmallVector<Value> found((reader.loader ? 1 : 2) * groups(), zero);
  found = b.loop(b.index(0), count, b.index(together), found, [&](Value first, ValueRange carried) {
    SmallVector<Value> rows, next(carried);
    for (int64_t r = 0; r < together; ++r) // the last one stands for rows that do not exist
      rows.push_back(b.min(b.add(first, r), b.sub(count, b.index(1))));
    SmallVector<Value> words = waitForWords(rows);
    for (auto [r, row] : llvm::enumerate(rows)) {
      Value before = zero;
      for (int64_t group = 0; group < groups(); ++group) {
        Value weight = b.create<arith::BitcastOp>(b.getF32Type(), words[r * groups() + group]);
        Value given = b.create<arith::CmpFOp>(arith::CmpFPredicate::UNE, weight,
                                              b.constant(b.getF32Type(), 0.0));
        if (experts % 32 && group == groups() - 1)
          given = both(given, b.less(lane, b.index(experts - group * 32)));
        // What a route has beyond `chosen` experts of a row has no place, and is not looked at.
        Value rank = b.addI32(before, bitsBelow(ballot(given)));
        Value kept = both(given, b.less(rank, b.integer(chosen)));
        Value mask = ballot(kept);
        next[group] = b.create<arith::OrIOp>(next[group], mask);
        if (!reader.loader) {
          Value &token = next[groups() + group];
          token = b.select(kept, b.toI32(row), token);
          b.when(kept, [&] { b.write(weight, weights(), {row, b.toIndex(rank)}); });
          b.when(b.equal(lane, b.index(0)), [&] {
            b.write(mask, masks(false), {row, b.index(group)});
            b.write(before, masks(true), {row, b.index(group)});
          });
        }
        before = b.addI32(before, b.create<math::CtPopOp>(mask));
      }
    }
    return next;
  });
  Value all = zero;
  for (int64_t group = 0; group < groups(); ++group) {
    Value mask = found[group];
    b.when(notZero(both(mask, b.addI32(below, b.integer(1)))), [&] {
      Value i = b.toIndex(b.addI32(all, bitsBelow(mask)));
      b.write(b.toI32(b.add(lane, group * 32)), list(), b.add(i, 1));
      if (!reader.loader)
        b.write(found[groups() + group], tokens(), i);
    });
    all = b.addI32(all, b.create<math::CtPopOp>(mask));
  }
  b.when(b.equal(lane, b.index(0)), [&] {
    b.write(all, list(), b.index(0));
    // Whoever looks ahead finds an expert and a token in any case.
    b.when(b.equal(all, zero), [&] {
      b.write(zero, list(), b.index(1));
      if (!reader.loader)
        b.write(zero, tokens(), b.index(0));
    });
  });
  b.syncWarp();
}

std::pair<Value, Value> ChosenExperts::rankOf(Value token, Value expert) {
  Value group = b.div(expert, 32), bit = b.toI32(b.rem(expert, 32));
  Value mask = b.read(masks(false), {token, group}), before = b.read(masks(true), {token, group});
  Value one = b.create<arith::ShLIOp>(b.integer(1), bit);
  Value below = b.create<arith::SubIOp>(one, b.integer(1));
  Value has = b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, b.create<arith::AndIOp>(mask, one),
                                      b.integer(0));
  Value rank = b.create<math::CtPopOp>(b.create<arith::AndIOp>(mask, below));
  return {has, b.toIndex(b.addI32(before, rank))};
}

Value ChosenExperts::offsetOf(Value stream, Value expert, Value units, Value unit, Value chunk) {
  Value number = b.add(b.mul(expert, units), unit);
  return b.wideAdd(stream, b.wideMul(b.add(b.mul(number, tile.chunks), chunk), tile.chunkBytes()));
}
