// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Norms of rows and of heads: what of a row has to be known before any of its columns.
#include "passes/cpu/KindEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// 1 / sqrt(mean + eps)
Value KindEmitter::inverseRoot(Value sum, int64_t columns, const APFloat &eps) {
  Type scalar = b.getF32Type();
  Value mean = b.fdiv(sum, b.constant(scalar, double(columns)));
  Value root = b.create<math::SqrtOp>(b.fadd(mean, b.constant(scalar, eps.convertToDouble())));
  return b.fdiv(b.constant(scalar, 1.0), root);
}

/// A sum over the columns of a row is kept in `lanes` partial sums, one a lane, joined at the end
/// by halving. `accumulate` adds columns to the sum.
Value KindEmitter::sumRow(Value input, Value row,
                          function_ref<Value(Value columns, Value sum)> addColumns) {
  int64_t columns = getColumns(input), width = pullWidth(input);
  VectorType type = vector(b.getF32Type(), width);
  auto accumulate = [&](Value sum, Place place) { return addColumns(pull(input, place), sum); };
  int64_t whole = columns / width * width;
  Value sum =
      b.loop(b.index(0), b.index(whole), b.index(width), b.constant(type, 0.0),
             [&](Value c, ValueRange sums) {
               return SmallVector<Value>{accumulate(sums[0], {row, {c, 0}, width, nullptr})};
             })[0];
  if (whole != columns) {
    Place tail{row, {nullptr, whole}, width, b.index(columns - whole)};
    Value mask =
        b.create<vector::CreateMaskOp>(vector(b.getI1Type(), width), ValueRange(tail.valid));
    sum = b.create<arith::SelectOp>(mask, accumulate(sum, tail), sum);
  }
  return b.sumLanes(sum);
}

/// 1 / rms of the row, or its mean and 1 / deviation from that.
void KindEmitter::prepareNorm(Operation *op, Value row) {
  Value input = op->getOperand(0), mean;
  int64_t columns = getColumns(input);
  if (auto norm = dyn_cast<LayerNormOp>(op)) {
    Value sum = sumRow(input, row, [&](Value x, Value sum) { return b.fadd(x, sum); });
    mean = b.fdiv(sum, b.constant(b.getF32Type(), double(columns)));
    means[op] = mean;
  }
  Value squares = sumRow(input, row, [&](Value x, Value sum) {
    if (mean)
      x = b.fsub(x, b.splat(mean, cast<VectorType>(x.getType()).getDimSize(0)));
    return b.fma(x, x, sum);
  });
  APFloat eps =
      isa<LayerNormOp>(op) ? cast<LayerNormOp>(op).getEps() : cast<RmsNormOp>(op).getEps();
  prepared[op] = inverseRoot(squares, columns, eps);
}

Value KindEmitter::pullNorm(Operation *op, const Place &place) {
  Value scale = b.splat(prepared[op], place.width);
  Value x = pull(op->getOperand(0), place), gain, bias;
  if (auto norm = dyn_cast<LayerNormOp>(op)) {
    x = b.fsub(x, b.splat(means[op], place.width));
    gain = norm.getGain();
    bias = norm.getBias();
  } else {
    gain = cast<RmsNormOp>(op).getGain();
  }
  x = b.fmul(x, scale);
  if (gain)
    x = b.fmul(x, load(memoryOf(gain), place));
  return bias ? b.fadd(x, load(memoryOf(bias), place)) : x;
}

/// The norms of one head: as for a row, the sum of squares is kept in one partial sum a lane.
void KindEmitter::prepareHeads(mk_task::SegmentAttr segment, Value outer, Value row) {
  Type scalar = b.getF32Type();
  kind.walk([&](HeadNormOp op) {
    if (!covers(segment, op.getInput()))
      return;
    int64_t shift = -origin(op.getInput());
    Value sum = b.loop(b.index(0), b.index(segment.getHalf()), b.index(lanes),
                       b.constant(vector(scalar, lanes), 0.0), [&](Value within, ValueRange sums) {
                         groups = groupsAt(segment, outer, within);
                         Value sum = sums[0];
                         for (auto [column, valid] : {std::pair(groups.a, groups.validA),
                                                      std::pair(groups.b, groups.validB)}) {
                           Value x = pull(op.getInput(), {row, column + shift, lanes, valid});
                           Value next = b.fma(x, x, sum);
                           if (valid) {
                             Value mask = b.create<vector::CreateMaskOp>(
                                 vector(b.getI1Type(), lanes), ValueRange(valid));
                             next = b.create<arith::SelectOp>(mask, next, sum);
                           }
                           sum = next;
                         }
                         return SmallVector<Value>{sum};
                       })[0];
    prepared[op] = inverseRoot(b.sumLanes(sum), op.getHeadDim(), op.getEps());
  });
}

Value KindEmitter::pullHeadNorm(HeadNormOp op, const Place &place) {
  bool second = place.column + origin(op.getInput()) == groups.b;
  Column inHead = {groups.within, second ? groups.segment.getPartner() : 0};
  Value x = b.fmul(pull(op.getInput(), place), b.splat(prepared[op], place.width));
  return b.fmul(x, load(memoryOf(op.getGain()), place.at(inHead)));
}
