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
      Value within = b.add(b.mul(b.rem(local, perOuter), kLanes), inGroup);
      groups = {};
      groups.segment = segment;
      groups.a = {b.add(b.mul(b.div(local, perOuter), segment.getStride()), within),
                  segment.getBase()};
      groups.b = groups.a + segment.getPartner();
      groups.within = within;
      auto valid = [&](Column column) -> Value {
        int64_t last = (segment.getOuter() - 1) * segment.getStride() + perOuter * kLanes - 1 +
                       column.constant;
        Value result;
        if (segment.getHalf() % kLanes)
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
  auto linear = dyn_cast<LinearOp>(kind.getAnchor());
  return linear ? getAccumulatorColumn(linear, value).value_or(0) : 0;
}

bool GpuEmitter::covers(Value value) {
  int64_t first = groups.segment.getBase() - origin(value);
  return first >= 0 && first < getColumns(value);
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
  Value entry = b.add(b.mul(slot, options.getPagesPerSlot()), b.div(position, options.getPage()));
  return readRequest("page_table", entry);
}

ArrayRef<Value> GpuEmitter::earlyOf(const void *key) {
  auto found = early.find({groups.segment, key});
  return found == early.end() ? ArrayRef<Value>() : ArrayRef<Value>(found->second);
}

/// Whether columns of both groups are needed for one of the result: those of a thread are not
/// enough.
static bool meetsPartner(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    return isa<RopeOp, GluOp>(user) ||
           (isa<SliceOp, AddOp, MulOp, SiluOp>(user) && meetsPartner(user->getResult(0)));
  });
}

/// Loads what the epilogue of this thread's column needs beside the sums, so that it arrives while
/// the tiles are multiplied: rows that are added, angles, pages.
void GpuEmitter::loadEarly(LinearOp linear, Value row, Value unit, Value inGroup, Value second,
                           Value active) {
  early.clear();
  if (linear.getEpilogue().empty())
    return;
  eachSegment(unit, inGroup, [&](Value inside) {
    Value wanted = inside ? b.both(active, inside) : active;
    auto keep = [&](const void *key, TypeRange types, function_ref<SmallVector<Value>()> load) {
      early[{groups.segment, key}] = b.choose(types, wanted, load, [&] {
        SmallVector<Value> zeros;
        for (Type type : types)
          zeros.push_back(b.create<arith::ConstantOp>(b.getZeroAttr(type)));
        return zeros;
      });
    };
    Value own = b.select(second, at(groups.b), at(groups.a));
    for (Operation &op : linear.getEpilogue().front()) {
      if (isa<AddOp, MulOp>(op) && covers(op.getResult(0)) && !meetsPartner(op.getResult(0))) {
        for (Value operand : op.getOperands())
          if (!dependsOnSums(operand) &&
              !early.count({groups.segment, operand.getAsOpaquePointer()}))
            keep(operand.getAsOpaquePointer(), TypeRange(f32()), [&] {
              // A column that does not exist is not used; it must still be one that can be read.
              Value column = b.sub(own, b.index(origin(op.getResult(0))));
              column = b.max(b.index(0), b.min(column, b.index(getColumns(operand) - 1)));
              return SmallVector<Value>{pull(operand, row, {column, 0})};
            });
      } else if (auto rope = dyn_cast<RopeOp>(op); rope && covers(rope.getResult())) {
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
  auto linear = dyn_cast<LinearOp>(kind.getAnchor());
  return linear && getAccumulatorColumn(linear, value).has_value();
}

Value GpuEmitter::cacheBlock(CacheType type, Value layer, Value page, Value head) {
  int64_t bytes =
      2 * type.getHeadDim() * options.getPage() * type.getElementType().getIntOrFloatBitWidth() / 8;
  Value pool = b.create<mk_cta::ContextWordOp>(frame.context, "pool_pages");
  Value block = b.add(b.mul(b.add(b.mul(layer, pool), page), type.getHeads()), head);
  return b.mul(block, bytes);
}

/// Keys and values lie as [page][head_dim] each, the keys of a block first.
void GpuEmitter::storeCache(KvAppendOp op, Value row, bool second) {
  CacheType type = op.getCache().getType();
  int64_t headDim = type.getHeadDim(), page = options.getPage();
  for (Value value : {op.getKeys(), op.getValues()}) {
    if (!covers(value))
      continue;
    Column column = (second ? groups.b : groups.a) + -origin(value);
    if (second && column.constant >= getColumns(value))
      continue;
    auto put = [&] {
      Value position = readIndex(op.getPositions(), row);
      ArrayRef<Value> loaded = earlyOf(op);
      Value pageNumber = b.toIndex(loaded.empty() ? pageOf(op, row) : loaded[0]);
      Value head = b.div(at(column), headDim), dim = b.rem(at(column), headDim);
      Value block = cacheBlock(type, layers.lookup(op.getCache()), pageNumber, head);
      int64_t first = value == op.getValues() ? page : 0;
      Value rows = view("kv", block, {2 * page, headDim}, {headDim, 1}, type.getElementType());
      Value x = pull(value, row, column);
      if (type.getElementType().isBF16())
        x = b.toBf16(x, /*native=*/true);
      b.write(x, rows, {b.add(b.rem(position, page), first), dim});
    };
    Value valid = second ? groups.validB : groups.validA;
    valid ? b.when(valid, put) : put();
  }
}

/// Stores what this thread has of every output of the unit; `second`: its column is in group B.
void GpuEmitter::storeUnit(Value row, Value second) {
  auto half = [&](bool isSecond) {
    for (Output &output : outputs) {
      Value value = output.value;
      Column column = isSecond ? groups.b : groups.a;
      Value valid = isSecond ? groups.validB : groups.validA;
      if (auto linear = value.getDefiningOp<LinearOp>()) {
        unsigned number = cast<OpResult>(value).getResultNumber();
        if (linear.getEpilogue().empty()) {
          auto put = [&] { store(accumulator(isSecond), *output.memory, row, at(column)); };
          valid ? b.when(valid, put) : put();
          continue;
        }
        value = linear.getEpilogue().front().getTerminator()->getOperand(number);
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
      storeColumn(value, *output.memory, row, column, valid);
    }
  };
  b.when(second, [&] { half(true); }, [&] { half(false); });
}

FailureOr<RingPlace> GpuEmitter::emitColumns() {
  for (Operation &op : kind.getBody().front().without_terminator())
    if (!isa<SliceOp, AddOp, MulOp, SiluOp, GluOp, RopeOp, SelectRowsOp, EmbeddingOp, CombineOp,
             KvAppendOp>(op))
      return refuse(&op, "has no body of its own: it is expected before or after a product");
  Value begin = field("begin"), units = b.sub(field("end"), begin);
  Value count = b.mul(b.mul(units, rowCount()), 2 * kLanes);
  b.loop(thread, count, b.index(kConsumers), [&](Value i) {
    Value quarter = b.rem(i, 2 * kLanes), rest = b.div(i, 2 * kLanes);
    Value unit = b.add(begin, b.createOrFold<arith::RemUIOp>(rest, units));
    Value row = b.createOrFold<arith::DivUIOp>(rest, units);
    forSegments(unit, b.rem(quarter, kLanes), [&] {
      storeUnit(row, b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(kLanes)));
    });
  });
  return frame.ring;
}
