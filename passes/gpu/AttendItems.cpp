// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/AttendItems.h"

#include "passes/cpu/Ranges.h"

using namespace mlir;
using namespace mlir::mk;

AttendItems::AttendItems(GpuBuilder &b, mk_task::KindOp kind, OptionsAttr options)
    : b(b), pool{b, cast<AttendOp>(kind.getAnchor()).getCache().getType(), options.getPage()} {
  auto op = cast<AttendOp>(kind.getAnchor());
  headDim = pool.type.getHeadDim();
  heads = pool.type.getHeads();
  group = getColumns(op.getQuery()) / headDim / heads;
  together = std::min(group, kHeads);
  parts = llvm::divideCeil(group, together);
  split = op.getSplit();
  splits = op.getSplits();
  window = op.getWindow();
  page = pool.page;
  shares = kind.getUnits().value_or(1);
}

Value AttendItems::ranges(Value lastPosition) {
  Value ranges = b.add(b.div(lastPosition, split), 1);
  return window ? b.min(ranges, b.index(splits)) : ranges;
}

Value AttendItems::items(Value ranges, Value tokens) {
  return b.mul(b.mul(ranges, tokens), heads * parts);
}

Value AttendItems::count(Value items, Value begin, Value width) {
  Value rest = b.max(b.index(0), b.sub(b.rem(items, shares), begin));
  return b.add(b.mul(b.div(items, shares), width), b.min(rest, width));
}

Value AttendItems::number(Value i, Value begin, Value width) {
  auto [turn, inTurn] = b.divide32(i, width);
  return b.add(b.add(b.mul(turn, shares), begin), inTurn);
}

Item AttendItems::decode(Value number, Value ranges) {
  auto [rest, range] = b.divide32(number, ranges);
  return {b.div(rest, parts * heads), range, b.rem(b.div(rest, parts), heads), b.rem(rest, parts)};
}

Value AttendItems::firstHead(Item item) {
  return b.add(b.mul(item.kvHead, group), b.mul(item.part, together));
}

Value AttendItems::rangeOf(Item item, Value position) {
  return window ? b.add(item.range, firstRange(b, position, window, split)) : item.range;
}

Value AttendItems::firstOf(Value range, Value block) {
  return b.add(b.mul(range, split), b.mul(block, kBlock));
}

Value AttendItems::beginOf(Value range, Value position) {
  Value begin = b.mul(range, split);
  return window ? b.max(begin, firstSeen(b, position, window)) : begin;
}

Value AttendItems::endOf(Value range, Value position) {
  return b.min(b.add(position, 1), b.mul(b.add(range, 1), split));
}
