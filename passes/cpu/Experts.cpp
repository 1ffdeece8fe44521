// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of an `experts` kind. A task has the same tiles of every expert. It walks the experts in
// ascending order; of one that no row has chosen it reads nothing. For any other it gathers the
// rows that did, which makes the product that of a `tiles` kind: an accumulator does not know which
// other rows there are. The weighted sums of a `mk.moe_combine` stay in private memory until the
// last expert, each added to in the order of the experts.
#include "passes/cpu/KindEmitter.h"

using namespace mlir;
using namespace mlir::mk;

namespace {
/// The rows that chose the expert at hand: `rows` of them, the i-th is row `tokens[i]`, of whose
/// experts this is number `ranks[i]`.
struct Chosen {
  Value rows, tokens, ranks;
};
} // namespace

LogicalResult KindEmitter::emitExperts() {
  Operation *anchor = kind.getAnchor();
  auto combine = dyn_cast<MoeCombineOp>(anchor);
  if (YieldOp yield = getResultsYield(anchor))
    for (Operation &op : yield->getBlock()->without_terminator())
      if (!isElementwise(&op) && !isa<SliceOp>(op))
        return refuse(
            &op, "cannot run on the accumulators of an expert: expected work on single columns");

  RankedTensorType weight = getPackedType(anchor);
  Type element = weight.getElementType(), f32 = b.getF32Type(), i32 = b.getI32Type();
  int64_t experts = weight.getDimSize(0), inner = weight.getDimSize(2);
  int64_t perWord = mk_cta::elementsPerWord(element), words = llvm::divideCeil(inner, perWord);
  int64_t tileBytes = mk_task::getTileBytes(weight, lanes), tileColumns = 2 * lanes;
  int64_t pitch = llvm::alignTo(words * perWord, lanes);
  int64_t chosen =
      combine ? int64_t(combine.getChosen()) : int64_t(cast<MoeLinearOp>(anchor).getChosen());
  int64_t most =
      kind.getDomain() == mk_task::Domain::tokens ? options.getMaxTokens() : options.getMaxRows();

  Value zero = b.index(0), one = b.index(1), none = b.integer(0);
  Value count = rowCount(kind.getDomain()), begin = field("begin"), end = field("end");
  Value stream = b.mul(field("stream"), 64), share = b.mul(b.sub(end, begin), tileBytes);
  Value input = memoryOf(anchor->getOperand(0)), route = memoryOf(anchor->getOperand(1));
  Value gathered = allocate({most, pitch}, element);
  Value tokens = allocate({most}, i32), ranks = allocate({most}, i32), seen = allocate({most}, i32);
  Value acc = allocate({mostBlockRows(), 2, lanes}, f32), sums;
  if (combine)
    sums = allocate({most, int64_t(*kind.getUnits()) * tileColumns}, f32);
  auto sumPlace = [&](Value row, Value unit, int64_t group) {
    return Place{row, {b.mul(unit, tileColumns), group * lanes}, lanes, nullptr};
  };

  b.loop(zero, count, one, [&](Value row) {
    write(none, seen, row);
    if (combine)
      b.loop(begin, end, one, [&](Value unit) {
        for (int64_t group : {0, 1})
          store(b.constant(vector(f32, lanes), 0.0), sums, sumPlace(row, unit, group));
      });
  });

  // What a route may hold beyond `chosen` experts of a row has no place, and is not looked at.
  auto choose = [&](Value expert) {
    Value rows = b.loop(zero, count, one, zero, [&](Value row, ValueRange found) {
      Value rank = read(seen, row);
      Value given = b.create<arith::CmpFOp>(arith::CmpFPredicate::UNE, read(route, {row, expert}),
                                            b.constant(f32, 0.0));
      Value isChosen = b.create<arith::AndIOp>(given, b.less(rank, b.integer(chosen)));
      b.when(isChosen, [&] {
        write(b.toI32(row), tokens, found[0]);
        write(rank, ranks, found[0]);
        write(b.create<arith::AddIOp>(rank, b.integer(1)), seen, row);
      });
      return SmallVector<Value>{
          b.create<arith::SelectOp>(isChosen, b.add(found[0], one), found[0])};
    })[0];
    return Chosen{rows, tokens, ranks};
  };

  auto gather = [&](const Chosen &who) {
    b.loop(zero, who.rows, one, [&](Value i) {
      Value token = b.toIndex(read(who.tokens, i));
      Value from = combine ? b.mul(b.toIndex(read(who.ranks, i)), inner) : zero;
      int64_t whole = inner / lanes * lanes;
      b.loop(zero, b.index(whole), b.index(lanes), [&](Value column) {
        Value part = load(input, {token, {b.add(from, column), 0}, lanes, nullptr});
        store(part, gathered, {i, {column, 0}, lanes, nullptr});
      });
      if (whole != inner) // what lies behind the row's end is read as zero, and meets zero weights
        store(load(input, {token, {from, whole}, lanes, b.index(inner - whole)}), gathered,
              {i, {nullptr, whole}, lanes, nullptr});
    });
  };
  auto layout = StridedLayoutAttr::get(b.getContext(), 0, {pitch, 1});
  Value rows = b.create<memref::ReinterpretCastOp>(
      MemRefType::get({most, words * perWord}, element, layout), gathered, 0,
      ArrayRef<int64_t>{most, words * perWord}, ArrayRef<int64_t>{pitch, 1});

  // The result of the expert at hand: its columns of the row's result.
  auto storeExpert = [&](Value token, Value rank, Value unit) {
    auto type = cast<RankedTensorType>(anchor->getResult(0).getType());
    int64_t bytes = type.getDimSize(1) / chosen * type.getElementTypeBitWidth() / 8;
    Value place = b.mul(field("operand", kind.getBody().getNumArguments()), 64);
    Value all = outputs[0].memory;
    auto strides = cast<StridedLayoutAttr>(cast<MemRefType>(all.getType()).getLayout());
    outputs[0].memory = view("activations", b.add(place, b.mul(b.toIndex(rank), bytes)),
                             {ShapedType::kDynamic, type.getDimSize(1) / chosen},
                             strides.getStrides(), type.getElementType());
    storeUnit(token, unit);
    outputs[0].memory = all;
  };
  auto addExpert = [&](Value token, Value expert, Value unit) {
    Value weight = b.splat(read(route, {token, expert}), lanes);
    for (int64_t group : {0, 1}) {
      Place place = sumPlace(token, unit, group);
      Value acc = group ? groups.accB : groups.accA;
      store(b.fma(weight, acc, load(sums, place)), sums, place);
    }
  };

  b.loop(0, experts, 1, [&](Value expert) {
    Chosen who = choose(expert);
    b.when(b.less(zero, who.rows), [&] {
      gather(who);
      Value tiles = b.add(stream, b.mul(expert, share));
      forUnits(begin, end, [&](UnitGroups unitGroups, Value unit) {
        groups = unitGroups;
        Value place = b.add(tiles, b.mul(b.sub(unit, begin), tileBytes));
        Value tile = view("stream", place, {words, 2, lanes * perWord},
                          {2 * lanes * perWord, lanes * perWord, 1}, element);
        emitTile(tile, rows, who.rows, acc, [&](Value i) {
          Value token = b.toIndex(read(who.tokens, i));
          if (combine)
            addExpert(token, expert, unit);
          else
            storeExpert(token, read(who.ranks, i), unit);
        });
      });
    });
  });
  if (!combine)
    return success();
  forUnits(begin, end, [&](UnitGroups unitGroups, Value unit) {
    groups = unitGroups;
    b.loop(zero, count, one, [&](Value row) {
      groups.accA = load(sums, sumPlace(row, unit, 0));
      groups.accB = load(sums, sumPlace(row, unit, 1));
      storeUnit(row, unit);
    });
  });
  return success();
}
