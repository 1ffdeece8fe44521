// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/Loader.h"
#include "passes/gpu/Request.h"
#include "passes/gpu/TableWalk.h"
#include "passes/gpu/TaskConditions.h"
#include "passes/gpu/WeightStream.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

/// Twice the bytes are in flight while the consumers have fewer copies than this to use.
static constexpr int64_t kFewTiles = 7;

Loader::Loader(GpuBuilder &b, mk_task::ProgramOp program, mk_task::TableOp table, Value context,
               Value worker, int64_t most)
    : b(b), program(program), table(table), context(context), most(most),
      target(getTarget(program)), options(getOptions(program)), layout(program, target),
      watch{b, context, worker, b.index(-1)} {
  full = layout.full(b);
  empty = layout.empty(b);
  ring = layout.slots(b);
  used = SharedLayout::flag(b, SharedLayout::kUsed);
}

SmallVector<Value> Loader::State::values() const {
  SmallVector<Value> result = {alive};
  result.append(next.values());
  result.append(oldest.values());
  return result;
}

Loader::State Loader::State::of(ValueRange values) {
  return {values[0], RingPlace::of(values.slice(1, 3)), RingPlace::of(values.slice(4, 3))};
}

void Loader::emit() {
  lane = b.rem(b.thread(), 32);
  Value zero = b.integer(0);
  WeightStream weights{b, program, table, context, watch.worker};
  RingPlace start{zero, zero, zero};
  SmallVector<Value> init = State{b.integer(1, 1), start, start}.values();
  TaskConditions conditions(b, program, context, watch.worker, /*ofLoader=*/true);
  if (conditions)
    init.push_back(conditions.nothing());
  SmallVector<Value> last = weights.eachInstruction(
      init,
      [&](Value instruction, Value number, Value step, ValueRange at) {
        watch.number = number;
        if (!conditions)
          return bring(weights, instruction, step, at);
        auto [met, alive, last] = askConditions(instruction, step, at);
        SmallVector<Value> state(at.take_front(7));
        state.front() = alive;
        SmallVector<Value> after = b.choose(
            ValueRange(state).getTypes(), b.both(alive, met),
            [&] { return bring(weights, instruction, step, state); }, [&] { return state; });
        after.push_back(last);
        return after;
      },
      [&](Value step) {
        // The consumers may write what the next step is asked to do.
        b.when(b.equal(lane, b.index(0)), [&] {
          b.create<mk_cta::TellOp>(SharedLayout::flag(b, SharedLayout::kPassed), step);
        });
      });
  // A CTA must not end while the copy engine writes to its memory.
  State state = State::of(last);
  watch.number = b.index(-1);
  drain(b.integer(1, 1), state.oldest, [&](RingPlace oldest) -> Value {
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, state.next.used, oldest.used);
  });
  watch.awaitTold(mk_cta::RingWait::left, watch.quit(), b.index(0));
}

/// What one instruction has in the ring.
SmallVector<Value> Loader::bring(WeightStream &weights, Value instruction, Value step,
                                 ValueRange at) {
  State state =
      State::of(weights.eachCopy(instruction, at, [&](Value offset, Value bytes, ValueRange state) {
        return fillWeights(offset, bytes, State::of(state)).values();
      }));
  Value kind = TableWalk{b, context, watch.worker}.field(instruction, "kind");
  for (auto [i, op] : llvm::enumerate(kindsOf(program, table))) {
    bool ofCache = isa<AttendOp>(op.getAnchor());
    if (!ofCache && op.getKindClass() != mk_task::KindClass::experts)
      continue;
    Value here = b.both(b.equal(kind, b.index(i)), state.alive);
    SmallVector<Value> values = state.values();
    state = State::of(b.choose(
        ValueRange(values).getTypes(), here,
        [&, op = op] {
          return (ofCache ? streamCache(op, instruction, step, state)
                          : streamExperts(op, instruction, step, state))
              .values();
        },
        [&] { return values; }));
  }
  return state.values();
}

/// Whether the CTA goes on, and whether the conditions of an instruction with something in the ring
/// are met. Words of the step are to be believed once it has begun; the consumers are told when
/// they have been read.
TaskConditions::Answer Loader::askConditions(Value instruction, Value step, ValueRange at) {
  TaskConditions conditions(b, program, context, watch.worker, /*ofLoader=*/true);
  Value kind = TableWalk{b, context, watch.worker}.field(instruction, "kind"), alive = at.front();
  Value asks = b.both(isOneOf(b, kind, kindsOf(program, table), TaskConditions::loaderAsks),
                      b.both(conditions.some(instruction), alive));
  // A step knows nothing of the one before.
  Value isFirst = b.equal(watch.number, b.index(0));
  Value last = b.select(isFirst, conditions.nothing(), at[7]);
  SmallVector<Type> types = {b.getI1Type(), b.getI1Type(), b.getI32Type()};
  SmallVector<Value> result = b.choose(
      types, asks,
      [&] {
        Value begun = watch.awaitTold(mk_cta::RingWait::begun,
                                      SharedLayout::flag(b, SharedLayout::kReady), step);
        return b.choose(
            types, begun,
            [&] {
              TaskConditions::Answer answer = conditions.ask(instruction, watch.number, step, last);
              b.syncWarp(); // every lane has looked
              b.when(b.equal(lane, b.index(0)), [&] {
                b.create<mk_cta::TellOp>(
                    SharedLayout::flag(b, SharedLayout::kAsked),
                    SharedLayout::instructionNumber(b, context, step, watch.number));
              });
              return SmallVector<Value>{answer.met, answer.known, answer.last};
            },
            [&] { return SmallVector<Value>{begun, begun, last}; });
      },
      [&] { return SmallVector<Value>{b.integer(1, 1), alive, last}; });
  return {result[0], result[1], result[2]};
}

SmallVector<Value> Loader::drain(Value alive, RingPlace oldest,
                                 function_ref<Value(RingPlace oldest)> more) {
  SmallVector<Value> init = {alive};
  init.append(oldest.values());
  return b.loopWhile(
      init,
      [&](ValueRange at) -> Value { return b.both(at[0], more(RingPlace::of(at.drop_front(1)))); },
      [&](ValueRange at) {
        RingPlace oldest = RingPlace::of(at.drop_front(1));
        SmallVector<Value> next = {watch.awaitLanded(full, oldest)};
        next.append(b.next(oldest, layout.stages).values());
        return next;
      });
}

Loader::State Loader::fillWeights(Value offset, Value bytes, State state) {
  return fill(state, [&](Value slot) {
    b.create<mk_cta::RingHoldsOp>(ValueRange{offset});
    b.create<mk_cta::RingFillOp>(ring, slot, full, context, "stream", offset, bytes);
  });
}

/// Keys and values: the blocks of a task's items, in the order of GpuAttend.cpp. Each lane has a
/// piece of a block; what the step itself stores may be missing in it.
Loader::State Loader::streamCache(mk_task::KindOp kind, Value instruction, Value step,
                                  State state) {
  AttendItems items(b, kind, options, most);
  TableWalk table{b, context, watch.worker};
  auto op = cast<AttendOp>(kind.getAnchor());
  Value layer =
      table.field(instruction, "operand", cast<BlockArgument>(op.getCache()).getArgNumber());
  Value begin = table.field(instruction, "begin"),
        width = b.sub(table.field(instruction, "end"), begin);
  Value header = SharedLayout::header(b);
  auto readHeader = [&](int64_t array, Value token) {
    return b.toIndex(b.read(header, {b.index(array), token}));
  };
  // How far a row sees, and its slot.
  int64_t positions =
              findSeen(program, kind) ? SharedLayout::kSeen : SharedLayout::headerOf("positions"),
          slots = SharedLayout::headerOf("slots");
  state.alive =
      watch.awaitTold(mk_cta::RingWait::begun, SharedLayout::flag(b, SharedLayout::kReady), step);
  b.create<mk_cta::ProxyFenceOp>(/*global=*/true);
  SmallVector<Value> values = state.values();
  auto stream = [&] {
    Value sizes = SharedLayout::sizeTable(b);
    auto sizeOf = [&](SharedLayout::Size size) {
      return b.toIndex(b.read(sizes, {b.rem(step, 2), b.index(size)}));
    };
    Deal deal = items.deal(sizeOf);
    Value total = b.mul(items.count(deal, begin, width), items.blocks());
    int64_t pieces = AttendItems::kBlock / items.piece();
    Value row = b.mul(b.rem(lane, pieces), items.piece()); // of this lane's piece
    // A block's page for this lane, head, first position and number of positions: known one block
    // ahead, since a page's number may come from far away.
    auto locate = [&](Value i) {
      Value number = b.min(items.number(deal, b.div(i, items.blocks()), begin, width),
                           b.sub(deal.items, b.index(1)));
      Item item = items.decode(number, deal);
      Value range = item.range;
      if (items.window)
        range = items.rangeOf(item, readHeader(positions, item.token));
      Value first = items.firstOf(range, b.rem(i, items.blocks()));
      Value position = readHeader(positions, item.token), end = items.endOf(range, position);
      Value count = b.min(b.sub(end, first), b.index(AttendItems::kBlock));
      if (items.window) { // a block that it has passed does not exist
        Value reached = b.less(items.beginOf(range, position), b.add(first, AttendItems::kBlock));
        count = b.select(reached, count, b.index(0));
      }
      // A position that does not exist is in the last page of the slot for all that it matters.
      Value page =
          b.min(b.div(b.add(first, row), items.page), b.index(options.getPagesPerSlot() - 1));
      Value found = pageAt(b, context, options, item.token, readHeader(slots, item.token), page);
      return SmallVector<Value>{found, item.kvHead, first, count};
    };
    SmallVector<Value> init = values;
    init.append(b.choose(
        TypeRange{b.getI32Type(), b.getIndexType(), b.getIndexType(), b.getIndexType()},
        b.less(b.index(0), total), [&] { return locate(b.index(0)); },
        [&] { return SmallVector<Value>{b.integer(0), b.index(0), b.index(0), b.index(0)}; }));
    SmallVector<Value> done =
        b.loop(b.index(0), total, b.index(1), init, [&](Value i, ValueRange carried) {
          SmallVector<Value> following = locate(b.min(b.add(i, 1), b.sub(total, b.index(1))));
          Value page = b.toIndex(carried[7]), kvHead = carried[8], first = carried[9],
                count = carried[10];
          Value exists = b.both(b.less(b.index(0), count), carried[0]);
          SmallVector<Value> before(carried.take_front(7));
          SmallVector<Value> result = b.choose(
              ValueRange(before).getTypes(), exists,
              [&] {
                Value block = items.pool.block(context, layer, page, kvHead);
                return fillBlock(items, i, block, first, count, row, State::of(before)).values();
              },
              [&] { return before; });
          result.append(following);
          return result;
        });
    return SmallVector<Value>(ValueRange(done).take_front(7));
  };
  return State::of(
      b.choose(ValueRange(values).getTypes(), state.alive, stream, [&] { return values; }));
}

/// The slots of a block of `count` positions from `first` on, in the page at `block` bytes of the
/// pool; a lane's piece of it begins at row `row`, and perhaps does not exist.
Loader::State Loader::fillBlock(AttendItems &items, Value number, Value block, Value first,
                                Value count, Value row, State state) {
  int64_t pieces = AttendItems::kBlock / items.piece(), rowBytes = items.pool.rowBytes();
  bool both = items.oneSlot(); // then a second set of lanes has the values
  Value inPage = b.rem(b.add(first, row), items.page);
  for (int64_t s = 0; s < items.slots(); ++s) {
    Value from = b.index(s % items.slotsOfKeys() * items.rowsPerSlot());
    Value matrix = both ? b.div(lane, pieces) : b.index(s / items.slotsOfKeys());
    Value rounded = b.mul(b.div(b.add(count, items.piece() - 1), items.piece()), items.piece());
    Value inSlot = b.max(b.index(0), b.min(b.sub(rounded, from), b.index(items.rowsPerSlot())));
    auto issue = [&](Value slot) {
      Value bytes = b.mul(inSlot, rowBytes * (both ? 2 : 1));
      b.create<mk_cta::RingHoldsOp>(
          ValueRange{b.div(number, items.blocks()), b.rem(number, items.blocks()), b.index(s)});
      Value place = b.sub(row, from);
      Value mine = b.both(b.less(lane, b.index(both ? 2 * pieces : pieces)),
                          b.create<arith::CmpIOp>(arith::CmpIPredicate::ult, place, inSlot));
      b.when(mine, [&] {
        Value source = b.wideAdd(block, b.mul(b.add(b.mul(matrix, items.page), inPage), rowBytes));
        if (both)
          place = b.add(place, b.mul(matrix, AttendItems::kBlock));
        b.create<mk_cta::RingCopyOp>(ring, slot, b.mul(place, rowBytes / 16), full, context, "kv",
                                     source, b.integer(items.piece() * rowBytes));
      });
      b.create<mk_cta::RingAnnounceOp>(full, slot, b.toI32(bytes));
    };
    SmallVector<Value> now = state.values();
    state = State::of(b.choose(
        ValueRange(now).getTypes(), state.alive, [&] { return fill(state, issue).values(); },
        [&] { return now; }));
  }
  return state;
}

Loader::State Loader::fill(State state, function_ref<void(Value slot)> issue) {
  RingPlace next = state.next;
  // Bytes in flight delay every other access of the CTA, so there are no more than are needed.
  Value ahead = b.create<arith::SubIOp>(next.used, b.read(used, b.index(0)));
  Value few = b.create<arith::CmpIOp>(arith::CmpIPredicate::slt, ahead, b.integer(kFewTiles));
  int64_t least = std::max<int64_t>(1, target.getInFlight() / kSlotBytes);
  Value limit = b.select(few, b.integer(2 * least), b.integer(least));
  State after = state;
  SmallVector<Value> landed = drain(state.alive, state.oldest, [&](RingPlace oldest) -> Value {
    Value flying = b.create<arith::SubIOp>(next.used, oldest.used);
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, flying, limit);
  });
  after.oldest = RingPlace::of(ValueRange(landed).drop_front(1));
  Value slot = b.toIndex(next.slot);
  Value parity = b.create<arith::XOrIOp>(next.parity, b.integer(1));
  after.alive = b.choose(
      b.getI1Type(), landed[0], [&] { return watch.awaitEmpty(empty, slot, parity); },
      [&] { return landed[0]; });
  after.next = RingPlace::of(b.choose(
      TypeRange{b.getI32Type(), b.getI32Type(), b.getI32Type()}, after.alive,
      [&] {
        issue(slot);
        return b.next(next, layout.stages).values();
      },
      [&] { return next.values(); }));
  return after;
}
