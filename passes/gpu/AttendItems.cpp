// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/AttendItems.h"

#include "passes/cpu/Ranges.h"

using namespace mlir;
using namespace mlir::mk;

static int64_t headsTogether(AttendOp op) {
  CacheType cache = op.getCache().getType();
  int64_t group = getColumns(op.getQuery()) / cache.getHeadDim() / cache.getHeads();
  return std::min(group, AttendItems::kHeads);
}

AttendItems::AttendItems(GpuBuilder &b, mk_task::KindOp kind, OptionsAttr options, int64_t most)
    : b(b), pool{b, cast<AttendOp>(kind.getAnchor()).getCache().getType(), options.getPage()} {
  auto op = cast<AttendOp>(kind.getAnchor());
  headDim = pool.type.getHeadDim();
  heads = pool.type.getHeads();
  group = getColumns(op.getQuery()) / headDim / heads;
  together = headsTogether(op);
  parts = llvm::divideCeil(group, together);
  split = op.getSplit();
  splits = op.getSplits();
  window = op.getWindow();
  page = pool.page;
  shares = kind.getUnits().value_or(1);
  if (joins(kind) && most > kGroupRows)
    room = roomFor(op);
}

/// The heads that an item has: a row of sums each, then the largest score and the weight.
int64_t AttendItems::rangeBytes(AttendOp op) {
  return headsTogether(op) * (op.getCache().getType().getHeadDim() + 4) * 4;
}

int64_t AttendItems::meetingBytes(AttendOp op) { return kConsumerWarps * rangeBytes(op); }

int64_t AttendItems::roomFor(AttendOp op) {
  int64_t fit = (SharedLayout::kProductBytes - meetingBytes(op)) / rangeBytes(op);
  return std::max<int64_t>(0, std::min({fit, kRoom, int64_t(op.getSplits())}));
}

mk_task::KindOp AttendItems::findJoiner(mk_task::ProgramOp program, mk_task::KindOp combine) {
  if (!isa<CombineOp>(combine.getAnchor()))
    return {};
  DenseSet<Attribute> written;
  for (auto family : program.getOps<mk_task::FamilyOp>())
    if (family.getKind() == combine.getSymName())
      written.insert(family.getOutputs()[0]);
  for (auto family : program.getOps<mk_task::FamilyOp>()) {
    if (llvm::none_of(family.getOutputs(), [&](Attribute name) { return written.contains(name); }))
      continue;
    auto kind = cast<mk_task::KindOp>(SymbolTable::lookupSymbolIn(program, family.getKindAttr()));
    if (isa<AttendOp>(kind.getAnchor())) // and not the other side of a decision
      return kind;
  }
  return {};
}

/// To join ranges on the chip saves a visit to memory, but a run cannot be shared by CTAs that have
/// nothing else to do. On an H200 a layer became 1.9 us shorter, less 22 ns for each KB of keys and
/// values that the CTA with most of them has beyond the average. Where it has not even another item
/// than without, there is nothing to weigh. Few tokens have a kernel without the code. Nothing of a
/// result depends on who joins.
static constexpr int64_t kWorthBytes = 80 << 10;

Deal AttendItems::deal(function_ref<Value(SharedLayout::Size)> sizeOf) {
  Deal deal;
  deal.ranges = b.add(b.div(sizeOf(SharedLayout::lastPosition), split), 1);
  if (window)
    deal.ranges = b.min(deal.ranges, b.index(splits));
  Value tokens = sizeOf(SharedLayout::tokens);
  deal.items = b.mul(b.mul(deal.ranges, tokens), heads * parts);
  deal.runs = deal.items;
  if (!room)
    return deal;
  Value heads = b.mul(tokens, this->heads * parts);
  Value most = b.mul(b.div(b.add(heads, shares - 1), shares), deal.ranges); // items of a CTA
  int64_t worth = std::max(shares - 1, shares * kWorthBytes / (2 * split * pool.rowBytes()));
  Value pays = b.less(b.mul(most, shares), b.add(deal.items, worth + 1));
  Value fits = b.less(deal.ranges, b.index(room + 1));
  Value many = b.less(b.index(kGroupRows), tokens);
  deal.joined = b.both(many, b.both(fits, pays));
  deal.runs = b.select(deal.joined, heads, deal.items);
  return deal;
}

Value AttendItems::itemsOfRun(const Deal &deal) {
  return b.select(deal.joined, deal.ranges, b.index(1));
}

Value AttendItems::count(const Deal &deal, Value begin, Value width) {
  Value rest = b.max(b.index(0), b.sub(b.rem(deal.runs, shares), begin));
  Value runs = b.add(b.mul(b.div(deal.runs, shares), width), b.min(rest, width));
  return deal.joined ? b.mul(runs, itemsOfRun(deal)) : runs;
}

Value AttendItems::passed(const Deal &deal, Value begin, Value width) {
  Value all = count(deal, begin, width);
  return deal.joined ? b.select(deal.joined, b.index(0), all) : all;
}

Value AttendItems::endsRun(const Deal &deal, Item item) {
  return b.both(deal.joined, b.equal(item.range, b.sub(deal.ranges, b.index(1))));
}

Value AttendItems::number(const Deal &deal, Value i, Value begin, Value width) {
  Value inRun;
  if (deal.joined)
    std::tie(i, inRun) = b.divide32(i, itemsOfRun(deal));
  auto [turn, inTurn] = b.divide32(i, width);
  Value number = b.add(b.add(b.mul(turn, shares), begin), inTurn);
  return deal.joined ? b.add(b.mul(number, itemsOfRun(deal)), inRun) : number;
}

Item AttendItems::decode(Value number, const Deal &deal) {
  auto [rest, range] = b.divide32(number, deal.ranges);
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
