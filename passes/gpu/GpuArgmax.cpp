// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The partial maxima in the epilogue of a product: of a unit by its threads, of a block by one.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// The four threads of a unit find its largest value, the lowest column on a tie.
void GpuEmitter::keepBest(ArgmaxPartialOp op, Value row, Value unit, Value quarter, Value active,
                          Value memory, Value buffer, Value inBatch) {
  Type i32 = b.getI32Type();
  auto lowest = [&]() -> SmallVector<Value> {
    return {b.constant(f32(), -std::numeric_limits<float>::infinity()), b.integer(INT32_MAX)};
  };
  SmallVector<Type> types = {f32(), i32};
  SmallVector<Value> best = b.choose(
      types, active,
      [&] {
        // One segment of plain columns: mk-tile gives a partial maximum no partners.
        auto segment = cast<mk_task::SegmentAttr>(kind.getSegmentsAttr().getValue().front());
        groups = {};
        groups.segment = segment;
        groups.a = {b.add(b.mul(unit, segment.getStride()), b.rem(quarter, 2)), segment.getBase()};
        groups.b = groups.a + segment.getPartner();
        Value second = b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(2));
        auto half = [&](Column column) {
          Value exists = b.less(at(column), b.index(segment.getLimit()));
          return b.choose(
              types, exists,
              [&] {
                return SmallVector<Value>{pull(op.getInput(), row, column), b.toI32(at(column))};
              },
              lowest);
        };
        return b.choose(
            types, second, [&] { return half(groups.b); }, [&] { return half(groups.a); });
      },
      lowest);
  for (int64_t mask : {1, 2}) {
    Value value = b.shuffleXor(best[0], mask), column = b.shuffleXor(best[1], mask);
    Value larger = b.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, value, best[0]);
    Value same = b.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, value, best[0]);
    Value lower = b.create<arith::CmpIOp>(arith::CmpIPredicate::slt, column, best[1]);
    Value take = b.create<arith::OrIOp>(larger, b.both(same, lower));
    best = {b.select(take, value, best[0]), b.select(take, column, best[1])};
  }
  b.when(b.equal(quarter, b.index(0)), [&] {
    Value column = b.create<arith::BitcastOp>(f32(), best[1]);
    b.write(b.pack({best[0], column}), memory, {buffer, row, inBatch});
  });
}

/// A thread for each row and block of the batch that begins at unit `from` joins the block's units.
void GpuEmitter::storeBest(ArgmaxPartialOp op, const Memory &memory, Value best, Value buffer,
                           Value from, Value end) {
  auto shape = cast<MemRefType>(best.getType()).getShape();
  int64_t most = shape[1], batch = shape[2], units = int64_t(op.getBlock()) / 4,
          blocks = batch / units;
  Value row = b.div(thread, blocks), block = b.rem(thread, blocks);
  Value number = b.add(b.div(from, units), block);
  Value exists = b.less(b.add(from, b.mul(block, units)), end);
  Value mine = b.both(b.less(row, b.min(rowCount(), b.index(most))), exists);
  b.when(mine, [&] {
    Value top, column;
    for (int64_t u = 0; u < units; ++u) { // units ascend: the lowest column wins a tie
      Value pair = b.read(best, {buffer, row, b.add(b.mul(block, units), u)});
      Value value = b.element(pair, 0), other = b.element(pair, 1);
      if (!u) {
        top = value;
        column = other;
        continue;
      }
      Value take = b.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, value, top);
      top = b.select(take, value, top);
      column = b.select(take, other, column);
    }
    b.write(b.pack({top, column}), rowsAs(memory, vectorOf(2, f32())), {row, number});
  });
}
