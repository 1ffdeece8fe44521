// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The prologue of attention: norms and rotations of the heads that it reads. A warp has a head, its
// lanes the columns of both halves, as where heads are a task of their own (GpuHeads.cpp). Keys
// come to be the same bits on both ways: later steps find them in the cache, this one makes them.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// Column `part` of the lane's, counted from the head's first, or of the other half.
Value HeadColumns::at(GpuBuilder &b, int64_t part, bool second) const {
  return b.add(lane, part * 32 + (second ? 32 * parts : 0));
}

/// The lane is read anew where it is used: what follows from it alone would be kept in registers
/// around the items.
HeadColumns GpuEmitter::columnsOfHead(int64_t headDim) {
  return {b.rem(b.create<mk_cta::ThreadOp>(), 32), headDim / 64};
}

/// The lane's columns of a head, part by part, of both halves.
SmallVector<Value> GpuEmitter::loadHead(Value rows, Value row, Value head,
                                        const HeadColumns &columns) {
  SmallVector<Value> result;
  Value first = b.mul(head, 64 * columns.parts);
  for (int64_t part = 0; part < columns.parts; ++part)
    for (bool second : {false, true})
      result.push_back(load(memoryOf(rows), row, b.add(first, columns.at(b, part, second))));
  return result;
}

/// What an op of the prologue needs beside its columns, of a row of the step: gains, or sines and
/// cosines. Loaded when it is asked for first.
SmallVector<Value> &GpuEmitter::besideHead(Operation *op, HeadRow &row) {
  SmallVector<Value> &result = row.beside[op];
  if (!result.empty())
    return result;
  if (auto norm = dyn_cast<HeadNormOp>(op)) {
    for (int64_t part = 0; part < row.columns.parts; ++part)
      for (bool second : {false, true})
        result.push_back(load(memoryOf(norm.getGain()), row.row, row.columns.at(b, part, second)));
    return result;
  }
  auto rope = cast<RopeOp>(op);
  for (int64_t part = 0; part < row.columns.parts; ++part) {
    groups.within = row.columns.at(b, part, false);
    auto [sine, cosine] = angle(rope, row.row);
    result.append({sine, cosine});
  }
  return result;
}

/// The lane's columns of a value of the prologue, from those of its argument.
SmallVector<Value> GpuEmitter::makeHead(Value value, ArrayRef<Value> argument, HeadRow &row) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return SmallVector<Value>(argument);
  SmallVector<Value> x = makeHead(op->getOperand(0), argument, row);
  if (auto norm = dyn_cast<HeadNormOp>(op)) {
    Value sum = b.constant(f32(), 0.0);
    for (Value column : x)
      sum = b.fma(column, column, sum);
    Value scale = scaleOfHead(norm, sum);
    for (auto [column, gain] : llvm::zip_equal(x, besideHead(op, row)))
      column = normalizeHead(column, scale, gain);
  } else if (isa<RopeOp>(op)) {
    ArrayRef<Value> angles = besideHead(op, row);
    for (size_t i = 0; i < x.size(); i += 2) {
      Value low = x[i], high = x[i + 1];
      for (bool second : {false, true})
        x[i + second] = rotate(low, high, {angles[i], angles[i + 1]}, second);
    }
  }
  return x; // a slice of all columns only rounds
}

LogicalResult GpuEmitter::checkPrologue(AttendOp op) {
  int64_t headDim = op.getCache().getType().getHeadDim();
  for (Operation &inner : op.getPrologue().front().without_terminator()) {
    auto rope = dyn_cast<RopeOp>(inner);
    auto slice = dyn_cast<SliceOp>(inner);
    bool plain = isa<HeadNormOp>(inner) ||
                 (rope && 2 * rope.getPairs() == headDim && rope.getDistance() == rope.getPairs());
    if (!plain && !(slice && getColumns(slice) == getColumns(slice.getInput())))
      return refuse(&inner, "cannot run before attention: expected norms and rotations of heads");
  }
  if (headDim % 64)
    return refuse(op, "expects heads of a multiple of 64 columns behind a prologue");
  return success();
}

/// Query heads as operand A, then the chunks of the token's own key and value: see emitAttend. Each
/// warp of the team makes some of these rows, and all of them read what they need.
SmallVector<Value> GpuEmitter::makeFresh(AttendOp op, const Item &item, AttendItems &items,
                                         function_ref<void()> joinTeam) {
  HeadColumns columns = columnsOfHead(items.headDim);
  Value warp = b.div(b.create<mk_cta::ThreadOp>(), 32);
  Value team = b.div(warp, AttendItems::kTeam), inTeam = b.rem(warp, AttendItems::kTeam);
  Block &prologue = op.getPrologue().front();
  Operation *yield = prologue.getTerminator();
  // The team's share of what storeItem uses, in elements of the cache.
  int64_t pitch = 2 * (items.headDim + 4), rows = AttendItems::kTeam * items.together;
  Value staged = shared(layout.scratch, {AttendItems::kTeams, rows, pitch}, b.getBF16Type());
  joinTeam(); // nobody reads what the item before left here
  auto make = [&](int64_t number, Value source, Value head) {
    auto body = [&] { return loadHead(source, item.token, head, columns); };
    Words words = issue(body);
    HeadRow row{item.token, columns, {}};
    for (Operation *at = yield->getOperand(number).getDefiningOp(); at;
         at = at->getOperand(0).getDefiningOp())
      if (isa<HeadNormOp, RopeOp>(at))
        besideHead(at, row);
    SmallVector<Value> x = replay(settle(words, body, /*together=*/true), body);
    return makeHead(yield->getOperand(number), x, row);
  };
  int64_t count = items.together;
  SmallVector<Type> types(2 * columns.parts, f32());
  b.loop(inTeam, b.index(count + 2), b.index(AttendItems::kTeam), [&](Value r) {
    SmallVector<Value> made = b.choose(
        types, b.less(r, b.index(count)),
        [&] {
          Value last = b.sub(items.endOfHeads(item), b.index(1));
          return make(0, op.getQuery(), b.min(b.add(items.firstHead(item), r), last));
        },
        [&] {
          return b.choose(
              types, b.equal(r, b.index(count)),
              [&] { return make(1, op.getNewRows()[0], item.kvHead); },
              [&] { return make(2, op.getNewRows()[1], item.kvHead); });
        });
    for (auto [i, column] : llvm::enumerate(made))
      b.write(b.toBf16(column, /*native=*/true), staged, {team, r, columns.at(b, i / 2, i % 2)});
  });
  joinTeam();
  Value chunks =
      shared(layout.scratch, {AttendItems::kTeams, rows, pitch / 8}, vectorOf(4, b.getI32Type()));
  Value lane = columns.lane, head = b.min(b.div(lane, 4), b.index(count - 1));
  SmallVector<Value> result;
  for (int64_t j = 0; j < items.headDim / 32; ++j) {
    Value four = b.read(chunks, {team, head, b.add(b.rem(lane, 4), 4 * j)});
    for (int64_t e = 0; e < 4; ++e)
      result.push_back(b.element(four, e));
  }
  for (int64_t r : {count, count + 1})
    result.push_back(b.read(chunks, {team, b.index(r), b.rem(lane, items.headDim / 8)}));
  return result;
}

/// Key and value of another row of the step.
SmallVector<Value> GpuEmitter::makeRow(AttendOp op, const Item &item, Value number,
                                       const HeadColumns &columns) {
  auto body = [&] {
    SmallVector<Value> all;
    for (Value rows : op.getNewRows())
      all.append(loadHead(rows, number, item.kvHead, columns));
    return all;
  };
  SmallVector<Value> x = whenWritten(body, /*together=*/true);
  HeadRow row{number, columns, {}};
  Operation *yield = op.getPrologue().front().getTerminator();
  SmallVector<Value> result;
  for (int64_t i : {0, 1})
    result.append(makeHead(yield->getOperand(1 + i),
                           ArrayRef(x).slice(i * 2 * columns.parts, 2 * columns.parts), row));
  return result;
}
