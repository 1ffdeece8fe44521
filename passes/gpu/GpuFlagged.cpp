// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Words of flagged buffers, which say themselves whether they have been written. All loads that one
// result needs go out together, and only then are their words looked at: a loop around each load
// would have one under way at a time. So a body is written up to three times: for its loads, for
// the same loads again while a word is missing, and for what it makes of the words.
#include "passes/gpu/GpuEmitter.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::mk;

/// 1, 2 or 4 words from a row, which is of so many units of them; an i32, or a vector.
Value GpuEmitter::loadWords(const Memory &memory, int64_t count, ValueRange indices) {
  if (loads && loads->given)
    return loads->words.values[loads->next++];
  Type word = b.getI32Type(), type = count == 1 ? word : Type(vectorOf(count, word));
  if (!loads && memory.flagged)
    return whenWritten([&] { return SmallVector<Value>{loadWords(memory, count, indices)}; },
                       false)[0];
  SmallVector<Value> place(indices);
  Value rows = rowsAs(locate(memory, place.front()), type);
  auto look = [&]() -> Value {
    return memory.flagged ? b.create<mk_cta::LoadFlaggedOp>(rows, place).getResult()
                          : b.read(rows, place);
  };
  Value result;
  if (loads && !loads->before.empty()) {
    Value known = loads->before[loads->words.values.size()];
    result = memory.flagged ? b.choose(type, isMissing(known), look, [&] { return known; }) : known;
  } else {
    result = look();
  }
  if (loads) {
    loads->words.values.push_back(result);
    loads->words.flagged.push_back(memory.flagged);
  }
  return result;
}

/// Whether one of the words has not been written.
Value GpuEmitter::isMissing(Value words) {
  auto vector = dyn_cast<VectorType>(words.getType());
  Value largest = vector ? b.element(words, 0) : words;
  for (int64_t i = 1; vector && i < vector.getNumElements(); ++i)
    largest = b.create<arith::MaxUIOp>(largest, b.element(words, i));
  return b.equal(largest, b.integer(-1));
}

/// The words that the body loads, which are under way. Nothing else is left of it.
GpuEmitter::Words GpuEmitter::issue(Body body, ArrayRef<Value> before) {
  assert(!loads && "one body at a time");
  WordLoads found;
  found.before = before;
  loads = &found;
  body();
  loads = nullptr;
  return found.words;
}

SmallVector<Value> GpuEmitter::replay(ArrayRef<Value> words, Body body) {
  assert(!loads && "one body at a time");
  WordLoads given{{SmallVector<Value>(words), {}}, true};
  loads = &given;
  SmallVector<Value> result = body();
  loads = nullptr;
  return result;
}

/// The words when all flagged ones have been written; if that takes too long, whatever they are.
/// `together`: all threads of the warp are here, and go on together.
SmallVector<Value> GpuEmitter::settle(const Words &words, Body body, bool together) {
  if (!llvm::is_contained(words.flagged, true))
    return words.values;
  Type i32 = b.getI32Type();
  size_t count = words.values.size();
  SmallVector<Value> state = words.values;
  state.append({b.integer(0, 64), b.integer(1, 1)}); // when the wait began, and whether to go on
  state = b.loopWhile(
      state,
      [&](ValueRange at) -> Value {
        Value largest = b.integer(0);
        for (auto [word, flagged] : llvm::zip(at, words.flagged)) {
          if (!flagged)
            continue;
          auto vector = dyn_cast<VectorType>(word.getType());
          for (int64_t i = 0; i < (vector ? vector.getNumElements() : 1); ++i)
            largest = b.create<arith::MaxUIOp>(largest, vector ? b.element(word, i) : word);
        }
        Value missing = b.equal(largest, b.integer(-1));
        missing = b.both(missing, at[count + 1]);
        if (!together)
          return missing;
        Value all = b.create<NVVM::VoteBallotOp>(i32, b.integer(-1), missing);
        return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, all, b.integer(0));
      },
      [&](ValueRange at) {
        auto again = b.create<mk_cta::LookAgainOp>(
            b.getI64Type(), b.getI1Type(), frame.context, frame.worker, frame.number,
            shared(SharedLayout::kOverdue, {1}, i32), at[count]);
        SmallVector<Value> known(at.take_front(count));
        SmallVector<Value> next = issue(body, known).values;
        next.append(again->result_begin(), again->result_end());
        return next;
      });
  state.resize(count);
  return state;
}

SmallVector<Value> GpuEmitter::whenWritten(Body body, bool together) {
  if (loads) // a part of a larger body
    return body();
  return replay(settle(issue(body), body, together), body);
}

void GpuEmitter::storeWord(Value word, const Memory &memory, Value row, Value place) {
  Value rows = rowsAs(memory, b.getI32Type());
  if (memory.flagged)
    b.create<mk_cta::StoreFlaggedOp>(word, rows, ValueRange{row, place});
  else
    b.write(word, rows, {row, place});
}

/// Two threads side by side have the two columns of a word of bfloat16: see GpuStores.cpp.
void GpuEmitter::storeFlagged(Value value, const Memory &memory, Value row, Value place) {
  Type i32 = b.getI32Type();
  if (memory.type.getElementType().isF32())
    return storeWord(b.create<arith::BitcastOp>(i32, value), memory, row, place);
  Value pair =
      b.create<arith::ShLIOp>(b.integer(3), b.toI32(b.mul(b.div(b.rem(thread, 32), 2), 2)));
  Value other = b.create<NVVM::ShflOp>(value.getType(), pair, value, b.integer(1), b.integer(31),
                                       NVVM::ShflKind::bfly, UnitAttr());
  b.when(b.equal(b.rem(place, 2), b.index(0)),
         [&] { storeWord(b.packPair(value, other), memory, row, b.div(place, 2)); });
}

GpuEmitter::Memory GpuEmitter::otherCopy(Memory memory) {
  Value back = b.wideSub(b.index(0), flaggedBytes());
  Value step = b.select(b.equal(copy(), b.index(0)), flaggedBytes(), back);
  memory.offset = b.wideAdd(memory.offset, step);
  return memory;
}

/// Takes back what the step before said in the columns of this task's units.
void GpuEmitter::clearUnits() {
  if (llvm::none_of(outputs,
                    [](Output &output) { return output.memory && output.memory->flagged; }))
    return;
  auto segments = kind.getSegmentsAttr().getAsRange<mk_task::SegmentAttr>();
  int64_t width = (*segments.begin()).width(2); // of a group; of heads all are alike
  Value begin = field("begin"), quarters = b.mul(b.sub(field("end"), begin), 2 * width);
  auto size =
      kind.getDomain() == mk_task::Domain::tokens ? SharedLayout::tokens : SharedLayout::rows;
  Value all = b.mul(sizeOf(size, /*before=*/true), quarters);
  b.loop(thread, all, b.index(kConsumers), [&](Value i) {
    auto [row, inRow] = b.divide32(i, quarters);
    Value unit = b.add(begin, b.div(inRow, 2 * width)), quarter = b.rem(inRow, 2 * width);
    clearing = true;
    forSegments(unit, b.rem(quarter, width), [&, row = row] {
      storeUnit(row, b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(width)));
    });
    clearing = false;
  });
}

/// The same for all columns of the result of one CTA.
void GpuEmitter::clearRows() {
  const Memory &result = *outputs[0].memory;
  if (!result.flagged)
    return;
  int64_t columns = result.columns();
  auto size =
      kind.getDomain() == mk_task::Domain::tokens ? SharedLayout::tokens : SharedLayout::rows;
  b.loop(thread, b.mul(sizeOf(size, /*before=*/true), columns), b.index(kConsumers),
         [&](Value i) { clearColumns(result, b.div(i, columns), b.rem(i, columns), Value()); });
}

/// Takes back what the step before said of the items that were this task's.
void GpuEmitter::clearItems(AttendItems &items, const Memory &partials, Value begin, Value width) {
  if (!partials.flagged)
    return;
  Deal before = items.deal([&](auto size) { return sizeOf(size, /*before=*/true); });
  Value cleared = rowsAs(otherCopy(partials), b.getI32Type());
  b.loop(b.index(0), items.passed(before, begin, width), b.index(1), [&](Value i) {
    Item item = items.decode(items.number(before, i, begin, width), before);
    auto clear = [&](Value place) {
      b.create<mk_cta::ClearFlaggedOp>(cleared, ValueRange{item.token, place});
    };
    eachColumn(items, item, thread, kConsumers, [&](Value, Value dim, Value sum, Value pair) {
      clear(sum);
      b.when(b.less(dim, b.index(2)), [&] { clear(b.add(pair, dim)); });
    });
  });
}
