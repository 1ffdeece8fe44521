// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where the values of a unit go: rows of a buffer, the cache. Also the `columns` kinds, which are
// nothing but that. A thread has one of the four columns of a unit: the first or second of group A,
// or of group B.
#include "passes/analysis/Accumulators.h"
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

static constexpr int64_t kLanes = 2;

/// Calls the body for each segment of the kind with `groups` for it, and with the condition under
/// which a thread's unit lies in it (null: always).
void GpuEmitter::eachSegment(Value unit, Value inGroup, function_ref<void(Value inside)> body) {
  int64_t first = 0;
  for (auto segment : kind.getSegmentsAttr().getAsRange<mk_task::SegmentAttr>()) {
    int64_t perOuter = segment.unitsPerOuter(kLanes), count = segment.units(kLanes);
    Value inside;
    if (kind.getSegmentsAttr().size() > 1)
      inside = b.create<arith::CmpIOp>(arith::CmpIPredicate::ult, b.sub(unit, b.index(first)),
                                       b.index(count));
    {
      Value local = b.sub(unit, b.index(first));
      int64_t width = segment.width(kLanes);
      Value within = b.add(b.mul(b.rem(local, perOuter), width), inGroup);
      groups = {};
      groups.segment = segment;
      groups.a = {b.add(b.mul(b.div(local, perOuter), segment.getStride()), within),
                  segment.getBase()};
      groups.b = groups.a + segment.getPartner();
      groups.within = within;
      auto valid = [&](Column column) -> Value {
        int64_t last =
            (segment.getOuter() - 1) * segment.getStride() + perOuter * width - 1 + column.constant;
        Value result;
        if (segment.getHalf() % width)
          result = b.less(within, b.index(segment.getHalf()));
        if (last >= segment.getLimit()) {
          Value below = b.less(at(column), b.index(segment.getLimit()));
          result = result ? b.both(result, below) : below;
        }
        return result;
      };
      groups.validA = valid(groups.a);
      groups.validB = valid(groups.b);
    }
    body(inside);
    first += count;
  }
}

/// Runs the body in the threads whose unit lies in a segment, once for each segment of the kind.
void GpuEmitter::forSegments(Value unit, Value inGroup, function_ref<void()> body) {
  eachSegment(unit, inGroup, [&](Value inside) { inside ? b.when(inside, body) : body(); });
}

int64_t GpuEmitter::origin(Value value) {
  Operation *anchor = kind.getAnchor();
  bool has = isa<LinearOp, MoeLinearOp, MoeCombineOp, RowwiseOp>(anchor);
  return has ? getAccumulatorColumn(anchor, value).value_or(0) : 0;
}

bool GpuEmitter::covers(Value value) {
  int64_t first = groups.segment.getBase() - origin(value);
  return first >= 0 && first < getColumns(value);
}

void GpuEmitter::clearColumns(const Memory &memory, Value row, Value column, Value valid) {
  auto put = [&] {
    Value place = position(column, memory.order);
    if (memory.type.getElementType().isBF16())
      place = b.div(place, 2);
    Memory other = otherCopy(memory);
    b.create<mk_cta::ClearFlaggedOp>(rowsAs(other, b.getI32Type()), ValueRange{row, place});
  };
  valid ? b.when(valid, put) : put();
}

void GpuEmitter::storeColumn(Value value, const Memory &memory, Value row, Column column,
                             Value valid) {
  auto put = [&] {
    int64_t shift = -origin(value);
    store(pull(value, row, column + shift), memory, row, at(column + shift));
  };
  valid ? b.when(valid, put) : put();
}

/// The pool's page, an i32, in which a row's keys and values go.
Value GpuEmitter::pageOf(KvAppendOp op, Value row) {
  Value slot = readIndex(op.getSlots(), row), position = readIndex(op.getPositions(), row);
  return pageAt(b, frame.context, options, row, slot, b.div(position, options.getPage()));
}

SmallVector<Value> GpuEmitter::earlyOf(const void *key) {
  auto found = early.find({groups.segment, key});
  if (found == early.end() || found->second.busy)
    return {};
  Early &entry = found->second;
  if (!entry.body)
    return entry.values;
  entry.busy = true; // its body asks for the value itself
  SmallVector<Value> result =
      replay(settle(entry.words, entry.body, /*together=*/false), entry.body);
  entry.busy = false;
  return result;
}

/// Whether columns of both groups are needed for one of the result: those of a thread are not
/// enough.
static bool meetsPartner(Operation *anchor, Value value) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    if (isa<RopeOp>(user) || pairsColumns(anchor, user))
      return true;
    return (isa<SliceOp>(user) || isElementwise(user)) && meetsPartner(anchor, user->getResult(0));
  });
}

/// Loads what the epilogue of this thread's column needs beside the sums, so that it arrives while
/// the tiles are multiplied: rows that are added, angles, pages.
void GpuEmitter::loadEarly(Operation *product, Value row, Value unit, Value inGroup, Value second,
                           Value active) {
  early.clear();
  YieldOp yield = getResultsYield(product);
  if (!yield)
    return;
  Block &epilogue = *yield->getBlock();
  eachSegment(unit, inGroup, [&](Value inside) {
    Value wanted = inside ? b.both(active, inside) : active;
    auto keep = [&](const void *key, TypeRange types, function_ref<SmallVector<Value>()> load) {
      early[{groups.segment, key}].values = b.choose(types, wanted, load, [&] {
        SmallVector<Value> zeros;
        for (Type type : types)
          zeros.push_back(b.create<arith::ConstantOp>(b.getZeroAttr(type)));
        return zeros;
      });
    };
    Value own = b.select(second, at(groups.b), at(groups.a));
    for (Operation &op : epilogue) {
      if (isElementwise(&op) && covers(op.getResult(0)) &&
          !meetsPartner(product, op.getResult(0)) && !pairsColumns(product, &op)) {
        for (Value operand : op.getOperands())
          if (!dependsOnSums(operand) &&
              !early.count({groups.segment, operand.getAsOpaquePointer()})) {
            // A column or row that does not exist is not used; it must still be one that can be
            // read.
            Value column = b.sub(own, b.index(origin(op.getResult(0))));
            column = b.max(b.index(0), b.min(column, b.index(getColumns(operand) - 1)));
            Value real = b.min(row, b.sub(rowCount(), b.index(1)));
            Early entry;
            entry.body = [=, this] { return SmallVector<Value>{pull(operand, real, {column, 0})}; };
            entry.words = issue(entry.body);
            if (entry.words.values.empty()) { // nothing that has to be looked at again
              entry.values = entry.body();
              entry.body = nullptr;
            }
            early[{groups.segment, operand.getAsOpaquePointer()}] = std::move(entry);
          }
      } else if (auto rope = dyn_cast<RopeOp>(op);
                 rope && covers(rope.getResult()) &&
                 isRotated(rope, groups.segment, origin(rope.getInput()))) {
        for (Operation &other : epilogue)
          if (auto same = dyn_cast<RopeOp>(other);
              same && same != rope && same.getPositions() == rope.getPositions() &&
              same.getFrequencies() == rope.getFrequencies() &&
              same.getScale() == rope.getScale() && early.count({groups.segment, same}) &&
              !early.count({groups.segment, rope}))
            early[{groups.segment, rope}] = Early(early[{groups.segment, same}]);
        if (early.count({groups.segment, rope}))
          continue;
        keep(rope, TypeRange{f32(), f32()}, [&] {
          auto [sine, cosine] = angle(rope, row);
          return SmallVector<Value>{sine, cosine};
        });
      } else if (auto append = dyn_cast<KvAppendOp>(op);
                 append && (covers(append.getKeys()) || covers(append.getValues()))) {
        keep(append, TypeRange(b.getI32Type()),
             [&] { return SmallVector<Value>{pageOf(append, row)}; });
      }
    }
  });
}

bool GpuEmitter::dependsOnSums(Value value) {
  return kind.getStreamed() && getAccumulatorColumn(kind.getAnchor(), value).has_value();
}

void GpuEmitter::storeCache(KvAppendOp op, Value row, bool second) {
  CachePool pool{b, op.getCache().getType(), options.getPage()};
  int64_t headDim = pool.type.getHeadDim();
  for (bool isValues : {false, true}) { // of the same rows, perhaps
    Value value = isValues ? op.getValues() : op.getKeys();
    if (!covers(value))
      continue;
    Column column = (second ? groups.b : groups.a) + -origin(value);
    if (second && column.constant >= getColumns(value))
      continue;
    auto put = [&] {
      Value position = readIndex(op.getPositions(), row);
      SmallVector<Value> loaded = earlyOf(op);
      Value pageNumber = b.toIndex(loaded.empty() ? pageOf(op, row) : loaded[0]);
      Value head = b.div(at(column), headDim), dim = b.rem(at(column), headDim);
      Value block = pool.block(frame.context, layers.lookup(op.getCache()), pageNumber, head);
      int64_t first = isValues ? pool.page : 0;
      Value rows = view("kv", block, {2 * pool.page, headDim}, {headDim, 1}, b.getBF16Type());
      Value place = b.add(b.mul(pool.chunkOf(position, b.div(dim, 8)), 8), b.rem(dim, 8));
      b.write(b.toBf16(pull(value, row, column), /*native=*/true), rows,
              {b.add(b.rem(position, pool.page), first), place});
    };
    Value valid = second ? groups.validB : groups.validA;
    valid ? b.when(valid, put) : put();
  }
}

/// Stores what this thread has of every output in one group of the unit.
void GpuEmitter::storeHalf(Value row, bool isSecond) {
  // What several outputs need is computed once, in front of them; what none needs is dead code.
  auto before = early;
  if (!clearing && accumulator) {
    accumulators = {accumulator(0), accumulator(1)};
    for (auto &[key, entry] : early)
      if (entry.body && key.first == groups.segment) {
        entry.values = earlyOf(key.second);
        entry.body = nullptr;
      }
  }
  for (Output &output : outputs) {
    Value value = output.value;
    Column column = isSecond ? groups.b : groups.a;
    Value valid = isSecond ? groups.validB : groups.validA;
    if (clearing && !(output.memory && output.memory->flagged))
      continue;
    if (isa_and_nonnull<LinearOp, MoeLinearOp, MoeCombineOp, RowwiseOp>(value.getDefiningOp()))
      value = getYielded(cast<OpResult>(value));
    if (!value) { // a plain product
      if (clearing) {
        clearColumns(*output.memory, row, at(column), valid);
        continue;
      }
      auto put = [&] { store(accumulators[isSecond], *output.memory, row, at(column)); };
      valid ? b.when(valid, put) : put();
      continue;
    }
    if (value.getDefiningOp<ArgmaxPartialOp>())
      continue; // joins the threads of a unit: GpuEmitter::storeArgmax
    if (auto append = value.getDefiningOp<KvAppendOp>()) {
      storeCache(append, row, isSecond);
      continue;
    }
    // Group B has no column of its own in a value that joined the two (glu).
    if (!covers(value) || (isSecond && column.constant - origin(value) >= getColumns(value)))
      continue;
    if (clearing)
      clearColumns(*output.memory, row, at(column + -origin(value)), valid);
    else
      storeColumn(value, *output.memory, row, column, valid);
  }
  accumulators = {};
  early = before;
}

/// The group of this thread's column; `second`: it is group B.
void GpuEmitter::storeUnit(Value row, Value second) {
  b.when(
      second, [&] { storeHalf(row, /*isSecond=*/true); },
      [&] { storeHalf(row, /*isSecond=*/false); });
}

FailureOr<RingPlace> GpuEmitter::emitColumns() {
  Operation *anchor = kind.getAnchor();
  Region &body = isa<RowwiseOp>(anchor) ? cast<RowwiseOp>(anchor).getBody() : kind.getBody();
  for (Operation &op : body.front().without_terminator())
    if (!isElementwise(&op) &&
        !isa<SliceOp, RopeOp, SelectRowsOp, EmbeddingOp, CombineOp, GenericOp, GateRowsOp,
             KvAppendOp, HeadNormOp, RmsNormOp, LayerNormOp, ChooseOp>(op))
      return refuse(&op, "has no body of its own: it is expected before or after a product");
  if (hasHeads())
    return emitHeads();
  clearUnits();
  prepareNorms(layout.scratch, layout.scratch + kPartialBytes);
  Value begin = field("begin"), units = b.sub(field("end"), begin);
  if (Value joined = joinedOnChip())
    units = b.select(joined, b.index(0), units);
  if (CombineOp combine = findLongCombine()) {
    emitCombine(combine, units);
    return frame.ring;
  }
  Value count = b.mul(b.mul(units, rowCount()), 2 * kLanes);
  b.loop(thread, count, b.index(kConsumers), [&](Value i) {
    Value quarter = b.rem(i, 2 * kLanes);
    auto [row, inRow] = b.divide32(b.div(i, 2 * kLanes), units);
    Value unit = b.add(begin, inRow);
    forSegments(unit, b.rem(quarter, kLanes), [&] {
      storeUnit(row, b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(kLanes)));
    });
  });
  return frame.ring;
}
