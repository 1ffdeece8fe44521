// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where the values of a unit go: rows of a buffer, partial maxima, the cache. Also the `columns`
// kinds, which are nothing but that.
#include "passes/analysis/Accumulators.h"
#include "passes/cpu/KindEmitter.h"

#include <numeric>

using namespace mlir;
using namespace mlir::mk;

/// Walks the units [begin, end) of the kind, segment by segment, so that within a segment all is
/// regular.
void KindEmitter::forUnits(Value begin, Value end, function_ref<void(UnitGroups, Value)> body,
                           function_ref<void(mk_task::SegmentAttr, Value)> enter) {
  int64_t first = 0;
  for (auto segment : kind.getSegmentsAttr().getAsRange<mk_task::SegmentAttr>()) {
    int64_t perOuter = segment.unitsPerOuter(lanes), count = segment.units(lanes);
    Value from = b.max(begin, b.index(first)), to = b.min(end, b.index(first + count));
    b.loop(from, to, b.index(1), [&](Value unit) {
      Value local = b.sub(unit, b.index(first));
      if (segment.getWhole()) {
        if (enter)
          enter(segment, local);
        forGroups(segment, local, [&](UnitGroups groups) { body(groups, unit); });
        return;
      }
      Value within = b.mul(b.rem(local, perOuter), lanes);
      body(groupsAt(segment, b.div(local, perOuter), within), unit);
    });
    first += count;
  }
}

/// The groups that begin `within` columns into the halves of the segment's part `outer`.
UnitGroups KindEmitter::groupsAt(mk_task::SegmentAttr segment, Value outer, Value within) {
  UnitGroups groups;
  groups.segment = segment;
  groups.a = {b.add(b.mul(outer, segment.getStride()), within), segment.getBase()};
  groups.b = groups.a + segment.getPartner();
  groups.within = within;
  // Lanes beyond the half or the limit do not exist; say so only where that can happen.
  bool cutHalf = segment.getHalf() % lanes != 0;
  int64_t perOuter = llvm::divideCeil(segment.getHalf(), lanes);
  auto valid = [&](Column column) -> Value {
    int64_t last =
        (segment.getOuter() - 1) * segment.getStride() + (perOuter - 1) * lanes + column.constant;
    bool cutLimit = last + lanes > segment.getLimit();
    if (!cutHalf && !cutLimit)
      return nullptr;
    Value count = b.index(lanes);
    if (cutHalf)
      count = b.min(count, b.sub(b.index(segment.getHalf()), within));
    if (cutLimit)
      count = b.max(b.index(0), b.min(count, b.sub(b.index(segment.getLimit()), at(column))));
    return count;
  };
  groups.validA = valid(groups.a);
  groups.validB = valid(groups.b);
  return groups;
}

/// Walks the groups of a part of a segment that is one unit.
void KindEmitter::forGroups(mk_task::SegmentAttr segment, Value outer,
                            function_ref<void(UnitGroups)> body) {
  b.loop(b.index(0), b.index(segment.getHalf()), b.index(lanes),
         [&](Value within) { body(groupsAt(segment, outer, within)); });
}

int64_t KindEmitter::origin(Value value) {
  Operation *anchor = kind.getAnchor();
  return isa<RowwiseOp>(anchor) || multiplies(anchor)
             ? getAccumulatorColumn(anchor, value).value_or(0)
             : 0;
}

bool KindEmitter::covers(mk_task::SegmentAttr segment, Value value) {
  int64_t first = segment.getBase() - origin(value);
  return first >= 0 && first < getColumns(value);
}

void KindEmitter::storeRows(Value value, Value target, Value row) {
  int64_t shift = -origin(value), width = getColumns(value);
  if (!covers(groups.segment, value))
    return;
  int64_t part = pullWidth(value);
  auto one = [&](Column column, Value valid) {
    for (int64_t i = 0; i < lanes; i += part) {
      Value left = valid && i ? b.sub(valid, b.index(i)) : valid;
      if (valid && part < lanes)
        left = b.max(b.index(0), b.min(left, b.index(part)));
      Place place{row, column + (shift + i), part, left};
      store(pull(value, place), target, place);
    }
  };
  one(groups.a, groups.validA);
  // Group B has no column of its own in a value that joined the two (glu), nor in one narrower than
  // a unit.
  if (groups.b.constant + shift < width)
    one(groups.b, groups.validB);
}

void KindEmitter::storeArgmax(ArgmaxPartialOp op, Value target, Value row, Value unit) {
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  VectorType floats = vector(f32, lanes), integers = vector(i32, lanes);
  SmallVector<int32_t> lane(lanes);
  std::iota(lane.begin(), lane.end(), 0);
  Value step =
      b.create<arith::ConstantOp>(DenseElementsAttr::get(integers, ArrayRef<int32_t>(lane)));
  Value lowest = b.constant(floats, -std::numeric_limits<float>::infinity());
  struct Group {
    Value values, columns;
  };
  auto group = [&](Column column, Value valid) -> Group {
    Value values = pull(op.getInput(), {row, column, lanes, valid});
    if (valid) {
      Value mask = b.create<vector::CreateMaskOp>(vector(b.getI1Type(), lanes), ValueRange(valid));
      values = b.create<arith::SelectOp>(mask, values, lowest);
    }
    return {values, b.create<arith::AddIOp>(b.splat(b.toI32(at(column)), lanes), step)};
  };
  Group a = group(groups.a, groups.validA), c = group(groups.b, groups.validB);
  Value best = b.maxLanes(b.fmax(a.values, c.values));
  auto columnsOfBest = [&](Group g) -> Value {
    Value equal =
        b.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, g.values, b.splat(best, lanes));
    return b.create<arith::SelectOp>(equal, g.columns, b.constant(integers, double(INT32_MAX)));
  };
  Value candidates = b.create<arith::MinSIOp>(columnsOfBest(a), columnsOfBest(c));
  Value index = b.create<vector::ReductionOp>(vector::CombiningKind::MINSI, candidates);
  Value place = b.mul(unit, 2);
  write(best, target, {row, place});
  write(b.create<arith::BitcastOp>(f32, index), target, {row, b.add(place, 1)});
}

Value KindEmitter::cacheBlock(CacheType type, Value layer, Value slot, Value pageNumber,
                              Value head) {
  int64_t bytes =
      2 * type.getHeadDim() * options.getPage() * type.getElementType().getIntOrFloatBitWidth() / 8;
  Value entry = b.add(b.mul(slot, options.getPagesPerSlot()), pageNumber);
  Value page = b.toIndex(readRequest("page_table", entry));
  Value pool = b.create<mk_cta::ContextWordOp>(context, "pool_pages");
  Value block = b.add(b.mul(b.add(b.mul(layer, pool), page), type.getHeads()), head);
  return b.mul(block, bytes);
}

/// Writes neighbouring elements of one position's key: words that lie a page apart.
void KindEmitter::storeKeyGroup(Value block, Value value, Value dim, Value position, Value valid,
                                int64_t headDim, Type element) {
  int64_t perWord = mk_cta::elementsPerWord(element), page = options.getPage();
  Value words = view("kv", block, {headDim / perWord, page}, {page, 1}, b.getI32Type());
  Value packed =
      b.create<vector::BitCastOp>(vector(b.getI32Type(), lanes / perWord), narrow(value, element));
  Value first = b.div(dim, perWord);
  for (int64_t i = 0; i < lanes / perWord; ++i) {
    auto put = [&] {
      Value word = b.create<vector::ExtractOp>(packed, ArrayRef<int64_t>{i});
      write(word, words, {b.add(first, i), position});
    };
    if (valid)
      b.when(b.less(b.index(i * perWord), valid), put);
    else
      put();
  }
}

void KindEmitter::storeCache(KvAppendOp op, Value row) {
  CacheType type = op.getCache().getType();
  int64_t headDim = type.getHeadDim(), page = options.getPage();
  Type element = type.getElementType();
  Value layer = memoryOf(op.getCache());
  Value slot = b.toIndex(read(memoryOf(op.getSlots()), row)),
        position = b.toIndex(read(memoryOf(op.getPositions()), row));
  Value pageNumber = b.div(position, page), inPage = b.rem(position, page);
  auto each = [&](Value value, function_ref<void(Value, Value, Value, Value)> put) {
    if (!covers(groups.segment, value))
      return;
    int64_t shift = -origin(value);
    auto one = [&](Column column, Value valid) {
      Place place{row, column + shift, lanes, valid};
      Value first = at(place.column), head = b.div(first, headDim), dim = b.rem(first, headDim);
      // The tile map cuts what goes into a cache head by head, so a group lies within one.
      put(pull(value, place), cacheBlock(type, layer, slot, pageNumber, head), dim, valid);
    };
    one(groups.a, groups.validA);
    if (groups.b.constant + shift < getColumns(value))
      one(groups.b, groups.validB);
  };
  each(op.getKeys(), [&](Value value, Value block, Value dim, Value valid) {
    storeKeyGroup(block, value, dim, inPage, valid, headDim, element);
  });
  each(op.getValues(), [&](Value value, Value block, Value dim, Value valid) {
    Value bytes = b.add(block, headDim * page * element.getIntOrFloatBitWidth() / 8);
    Value rows = view("kv", bytes, {page, headDim}, {headDim, 1}, element);
    store(value, rows, {inPage, {dim, 0}, lanes, valid});
  });
}

void KindEmitter::storeUnit(Value row, Value unit) {
  for (Output &output : outputs) {
    Value value = output.value;
    if (Operation *op = value.getDefiningOp(); multiplies(op) || isa_and_nonnull<RowwiseOp>(op))
      value = getYielded(cast<OpResult>(value));
    if (!value) { // a plain product
      auto one = [&](Column column, Value acc, Value valid) {
        store(acc, output.memory, {row, column, lanes, valid});
      };
      one(groups.a, groups.accA, groups.validA);
      if (groups.b.constant < getPackedType(kind.getAnchor()).getShape().drop_back().back())
        one(groups.b, groups.accB, groups.validB);
      continue;
    }
    if (auto partial = value.getDefiningOp<ArgmaxPartialOp>())
      storeArgmax(partial, output.memory, row, unit);
    else if (auto append = value.getDefiningOp<KvAppendOp>())
      storeCache(append, row);
    else
      storeRows(value, output.memory, row);
  }
}

LogicalResult KindEmitter::emitColumns() {
  Value begin = field("begin"), end = field("end");
  b.loop(b.index(0), rowCount(kind.getDomain()), b.index(1), [&](Value row) {
    for (Output &output : outputs)
      if (auto append = output.value.getDefiningOp<KvAppendOp>()) {
        prepare(append.getKeys(), row);
        prepare(append.getValues(), row);
      } else {
        prepare(output.value, row);
      }
    forUnits(
        begin, end,
        [&](UnitGroups unitGroups, Value unit) {
          groups = unitGroups;
          storeUnit(row, unit);
        },
        [&](mk_task::SegmentAttr segment, Value head) { prepareHeads(segment, head, row); });
  });
  return success();
}
