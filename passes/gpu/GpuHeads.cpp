// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Columns that need all of their head: a norm of heads, and the rotation and the store behind it. A
// unit is a head, and a warp does a head of a row: its lanes hold the columns of both halves, load
// them together and once, and share the sum of squares by shuffles, which join it in one order.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// Whether the kind is cut into heads; `emitHeads` refuses a kind that is so only in part.
bool GpuEmitter::hasHeads() {
  return llvm::any_of(kind.getSegmentsAttr().getAsRange<mk_task::SegmentAttr>(),
                      [](mk_task::SegmentAttr segment) { return segment.getWhole(); });
}

/// Columns of each half that a lane has: lane l has l, l + 32, ...
static int64_t partsOf(mk_task::SegmentAttr segment) {
  return llvm::divideCeil(segment.getHalf(), 32);
}

/// Makes `groups` the columns of a lane in a part of its head. Lanes beyond the half stand for its
/// last column, and are not valid.
void GpuEmitter::enterPart(const UnitGroups &head, Value lane, int64_t part) {
  int64_t half = head.segment.getHalf();
  Value within = b.add(lane, part * 32);
  groups = head;
  if (part * 32 + 32 > half) {
    groups.validA = groups.validB = b.less(within, b.index(half));
    within = b.min(within, b.index(half - 1));
  }
  groups.a.dynamic = b.add(head.a.dynamic, within);
  groups.b.dynamic = groups.a.dynamic;
  groups.within = within;
}

/// What the ops on a head need beside its columns, of a part: angles, gains, pages. Its loads go
/// out before the columns are waited for.
void GpuEmitter::loadBeside(Value row) {
  early.clear();
  kind.walk([&](Operation *op) {
    auto keep = [&](SmallVector<Value> values) {
      early[{groups.segment, op}].values = std::move(values);
    };
    if (auto norm = dyn_cast<HeadNormOp>(op); norm && covers(norm.getInput())) {
      const Memory &gain = memoryOf(norm.getGain());
      Value second = b.add(groups.within, groups.segment.getPartner());
      keep({load(gain, row, groups.within), load(gain, row, second)});
    } else if (auto rope = dyn_cast<RopeOp>(op); rope && covers(rope.getInput())) {
      auto [sine, cosine] = angle(rope, row);
      keep({sine, cosine});
    } else if (auto append = dyn_cast<KvAppendOp>(op);
               append && (covers(append.getKeys()) || covers(append.getValues()))) {
      keep({pageOf(append, row)});
    }
  });
}

/// The rows under the columns of the segment: an input of the kind's work.
Value GpuEmitter::rowsUnderHead() {
  Operation *anchor = kind.getAnchor();
  if (auto norm = dyn_cast<HeadNormOp>(anchor))
    return norm.getInput();
  for (Value argument : cast<RowwiseOp>(anchor).getBody().getArguments())
    if (covers(argument))
      return argument;
  llvm_unreachable("the segments of a rowwise are columns of its inputs");
}

void GpuEmitter::storeHead(Value row, Value lane) {
  UnitGroups head = groups;
  int64_t parts = partsOf(head.segment);
  Value rows = rowsUnderHead();
  auto columnOf = [&](Value value, bool second) {
    return (second ? groups.b : groups.a) + -origin(value);
  };
  using Columns = std::array<Value, 2>;
  auto load = [&] {
    SmallVector<Value> all;
    for (int64_t part = 0; part < parts; ++part) {
      enterPart(head, lane, part);
      for (bool second : {false, true})
        all.push_back(pull(rows, row, columnOf(rows, second)));
    }
    return all;
  };
  Words words = issue(load);
  SmallVector<decltype(early)> beside(parts);
  for (int64_t part = 0; part < parts; ++part) {
    enterPart(head, lane, part);
    loadBeside(row);
    std::swap(beside[part], early);
  }
  early.clear();
  SmallVector<Value> loaded = replay(settle(words, load, /*together=*/true), load);
  auto enter = [&](int64_t part) {
    enterPart(head, lane, part);
    early = beside[part];
    held[rows] = Columns{loaded[2 * part], loaded[2 * part + 1]};
  };
  kind.walk([&](HeadNormOp norm) {
    if (!covers(norm.getInput()))
      return;
    Value sum = b.constant(f32(), 0.0);
    for (int64_t part = 0; part < parts; ++part) {
      enter(part);
      for (bool second : {false, true}) {
        Value x = pull(norm.getInput(), row, columnOf(norm.getInput(), second));
        if (groups.validA)
          x = b.select(groups.validA, x, b.constant(f32(), 0.0));
        sum = b.fma(x, x, sum);
      }
    }
    headScales[norm] = scaleOfHead(norm, sum);
  });
  for (int64_t part = 0; part < parts; ++part) {
    enter(part);
    storeHalf(row, /*isSecond=*/false);
    storeHalf(row, /*isSecond=*/true);
  }
  held.clear();
  early.clear();
}

Value GpuEmitter::pullHeadNorm(HeadNormOp op, Value row, Column column) {
  bool second = column + origin(op.getInput()) == groups.b;
  return normalizeHead(pull(op.getInput(), row, column), headScales.lookup(op),
                       earlyOf(op)[second]);
}

/// Of a head whose lanes have these sums of squares.
Value GpuEmitter::scaleOfHead(HeadNormOp op, Value squares) {
  Value sum = b.reduceLanes(squares, 32, [&](Value x, Value y) { return b.fadd(x, y); });
  return inverseRoot(sum, op.getHeadDim(), op.getEps());
}

/// 1 / sqrt(mean + eps)
Value GpuEmitter::inverseRoot(Value sum, int64_t columns, const APFloat &eps) {
  Value mean = b.fmul(sum, b.constant(f32(), 1.0 / columns));
  return b.inverseRoot(b.fadd(mean, b.constant(f32(), eps.convertToDouble())));
}

FailureOr<RingPlace> GpuEmitter::emitHeads() {
  auto segments = kind.getSegmentsAttr().getAsRange<mk_task::SegmentAttr>();
  int64_t half = (*segments.begin()).getHalf();
  // Two lanes side by side write the two columns of a word.
  if (half % 2 || llvm::any_of(segments, [&](mk_task::SegmentAttr segment) {
        return !segment.getWhole() || segment.getHalf() != half;
      }))
    return refuse(kind.getAnchor(), "expects heads of one size, a multiple of 4 columns, and "
                                    "nothing that is not a head");
  clearUnits();
  Value begin = field("begin"), units = b.sub(field("end"), begin);
  Value lane = b.rem(thread, 32), warp = b.div(thread, 32);
  b.loop(warp, b.mul(units, rowCount()), b.index(kConsumerWarps), [&](Value i) {
    auto [row, inRow] = b.divide32(i, units);
    Value head = b.add(begin, inRow);
    forSegments(head, b.index(0), [&, row = row] { storeHead(row, lane); });
  });
  return frame.ring;
}
