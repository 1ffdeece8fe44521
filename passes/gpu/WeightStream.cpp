// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/WeightStream.h"
#include "passes/gpu/Request.h"
#include "passes/gpu/TableWalk.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

Value WeightStream::readRequest(StringRef name) {
  return b.read(requestArray(b, context, getOptions(program), name), b.index(0));
}

SmallVector<Value> WeightStream::eachInstruction(
    ValueRange init,
    function_ref<SmallVector<Value>(Value instruction, Value number, Value step, ValueRange state)>
        body,
    function_ref<void(Value step)> after) {
  Value zero = b.integer(0), steps = readRequest("steps");
  noRows = b.equal(readRequest("n_rows"), zero);
  Value before = b.create<mk_cta::StepOp>(context);
  TableWalk walk{b, context, worker};
  SmallVector<Value> state = {zero};
  state.append(init.begin(), init.end());
  state = b.loopWhile(
      state,
      [&](ValueRange state) -> Value {
        return b.both(b.create<arith::CmpIOp>(arith::CmpIPredicate::slt, state[0], steps),
                      state[1]);
      },
      [&](ValueRange state) {
        Value step = b.wideAdd(before, b.toIndex(state[0]));
        SmallVector<Value> done =
            walk.walk(state.drop_front(1), [&](Value instruction, Value number, ValueRange at) {
              return body(instruction, number, step, at);
            });
        after(step);
        SmallVector<Value> next = {b.addI32(state[0], b.integer(1))};
        next.append(done.begin() + 1, done.end());
        return next;
      });
  state.erase(state.begin());
  return state;
}

WeightStream::Tiles WeightStream::tilesOf(Value kind) {
  auto cases = llvm::to_vector(llvm::seq<int64_t>(table.getKinds().size()));
  Type index = b.getIndexType();
  auto choose = b.create<scf::IndexSwitchOp>(TypeRange{index, index, index, index}, kind, cases,
                                             cases.size());
  OpBuilder::InsertionGuard guard(b);
  auto yield = [&](int64_t chunks, int64_t bytes, int64_t group, int64_t ofRows) {
    b.create<scf::YieldOp>(
        ValueRange{b.index(chunks), b.index(bytes), b.index(group), b.index(ofRows)});
  };
  for (auto [i, kind] : llvm::enumerate(kindsOf(program, table))) {
    b.createBlock(&choose.getCaseRegions()[i]);
    if (auto linear = dyn_cast<LinearOp>(kind.getAnchor())) {
      mk_task::FragmentTile tile(linear.getInnerSize());
      yield(tile.chunks, tile.chunkBytes(), tile.group, kind.getDomain() == mk_task::Domain::rows);
    } else {
      yield(0, 0, 1, 0);
    }
  }
  b.createBlock(&choose.getDefaultRegion());
  yield(0, 0, 1, 0);
  return {choose.getResult(0), choose.getResult(1), choose.getResult(2), choose.getResult(3)};
}

SmallVector<Value> WeightStream::eachCopy(
    Value instruction, ValueRange init,
    function_ref<SmallVector<Value>(Value offset, Value bytes, ValueRange state)> body) {
  TableWalk walk{b, context, worker};
  Value begin = walk.field(instruction, "begin"), end = walk.field(instruction, "end"),
        base = b.wideMul(walk.field(instruction, "stream"),
                         mk_task::getStreamUnit(getTarget(program).getLanes()));
  Tiles tiles = tilesOf(walk.field(instruction, "kind"));
  Value none = b.both(b.equal(tiles.ofRows, b.index(1)), noRows);
  Value units = b.select(none, b.index(0), b.sub(end, begin));
  units = b.select(b.less(b.index(0), tiles.chunks), units, b.index(0));
  // Chunks of four units in turn.
  Value chunked = b.less(b.index(1), tiles.chunks);
  Value batch = b.select(chunked, b.index(4), b.max(units, b.index(1)));
  return b.loop(b.index(0), units, batch, init, [&](Value from, ValueRange state) {
    Value inBatch = b.min(batch, b.sub(units, from));
    return b.loop(b.index(0), tiles.chunks, b.index(1), state, [&](Value chunk, ValueRange state) {
      return b.loop(b.index(0), inBatch, tiles.group, state, [&](Value unit, ValueRange state) {
        Value tile = b.add(b.mul(b.add(from, unit), tiles.chunks), chunk);
        Value offset = b.wideAdd(base, b.mul(tile, tiles.chunkBytes));
        Value bytes = b.mul(b.min(tiles.group, b.sub(inBatch, unit)), tiles.chunkBytes);
        return b.choose(
            state.getTypes(), state[0], [&] { return body(offset, b.toI32(bytes), state); },
            [&] { return SmallVector<Value>(state); });
      });
    });
  });
}
