// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The loader's part of an `experts` kind: it reads the route itself, and brings what the step has
// chosen, in the order of GpuExperts.cpp.
#include "passes/gpu/ChosenExperts.h"
#include "passes/gpu/Loader.h"
#include "passes/gpu/TableWalk.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

/// Bytes of a row of the kind's route: of all of its families alike.
static int64_t routePitch(mk_task::ProgramOp program, mk_task::KindOp kind, int64_t argument) {
  for (auto family : program.getOps<mk_task::FamilyOp>())
    if (family.getKind() == kind.getSymName())
      return cast<mk_task::BufferOp>(
                 SymbolTable::lookupSymbolIn(
                     program, cast<FlatSymbolRefAttr>(family.getOperands()[argument])))
          .getPitch();
  llvm_unreachable("a kind has a family");
}

Loader::State Loader::streamExperts(mk_task::KindOp kind, Value instruction, Value step,
                                    State state) {
  TableWalk table{b, context, watch.worker};
  int64_t argument = cast<BlockArgument>(kind.getAnchor()->getOperand(1)).getArgNumber();
  Value copy = b.rem(step, 2), zero = b.index(0);
  Value route = b.wideMul(table.field(instruction, "operand", argument), mk_task::kAlignment);
  Value ofCopy = b.create<mk_cta::ContextWordOp>(context, "flagged");
  route = b.wideAdd(route, b.select(b.equal(copy, zero), zero, ofCopy));
  ChosenExperts experts(b, layout, kind, route, routePitch(program, kind, argument),
                        {context, watch.worker, watch.number, step, /*loader=*/true});
  state.alive =
      watch.awaitTold(mk_cta::RingWait::begun, SharedLayout::flag(b, SharedLayout::kReady), step);
  SmallVector<Value> before = state.values();
  auto size =
      kind.getDomain() == mk_task::Domain::tokens ? SharedLayout::tokens : SharedLayout::rows;
  Value rows = b.toIndex(b.read(SharedLayout::sizeTable(b), {copy, b.index(size)}));
  return State::of(b.choose(
      ValueRange(before).getTypes(), b.both(state.alive, b.less(zero, rows)),
      [&] {
        experts.find(rows);
        b.when(b.equal(lane, zero), [&] {
          b.create<mk_cta::TellOp>(SharedLayout::flag(b, SharedLayout::kRouted),
                                   SharedLayout::instructionNumber(b, context, step, watch.number));
        });
        // What was not a route says so by this.
        SmallVector<Value> init = before;
        init[0] = b.equal(b.read(watch.quit(), zero), b.integer(0));
        return streamTiles(experts, instruction, State::of(init)).values();
      },
      [&] { return before; }));
}

Loader::State Loader::streamTiles(ChosenExperts &experts, Value instruction, State state) {
  TableWalk table{b, context, watch.worker};
  const mk_task::FragmentTile &tile = experts.tile;
  Value units = b.sub(table.field(instruction, "end"), table.field(instruction, "begin"));
  Value stream = b.wideMul(table.field(instruction, "stream"), mk_task::FragmentTile::kBlockBytes);
  Value zero = b.index(0), one = b.index(1), count = experts.count();
  using Carried = ValueRange;
  auto each = [&](Value to, Value by, ValueRange init,
                  function_ref<SmallVector<Value>(Value, Carried)> body) {
    return b.loop(zero, to, by, init, body);
  };
  SmallVector<Value> init = state.values();
  return State::of(each(units, b.index(ChosenExperts::kUnits), init, [&](Value from, Carried at) {
    Value inTurn = b.min(b.sub(units, from), b.index(ChosenExperts::kUnits));
    return each(count, one, at, [&](Value i, Carried at) {
      Value expert = experts.expert(i);
      return each(b.index(tile.chunks), one, at, [&](Value chunk, Carried at) {
        return each(inTurn, b.index(tile.group), at, [&](Value unit, Carried at) {
          Value offset = experts.offsetOf(stream, expert, units, b.add(from, unit), chunk);
          Value bytes = b.mul(b.min(b.index(tile.group), b.sub(inTurn, unit)), tile.chunkBytes());
          return b.choose(
              at.getTypes(), at[0],
              [&] { return fillWeights(offset, b.toI32(bytes), State::of(at)).values(); },
              [&] { return SmallVector<Value>(at); });
        });
      });
    });
  }));
}
