// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Evaluation by demand: `prepare` what needs a whole row, `pull` some columns.
#include "passes/analysis/Accumulators.h"
#include "passes/cpu/Elementwise.h"
#include "passes/cpu/KindEmitter.h"
#include "passes/cpu/Ranges.h"

#include "llvm/ADT/TypeSwitch.h"

#include <numeric>

using namespace mlir;
using namespace mlir::mk;

int64_t KindEmitter::pullWidth(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return lanes;
  int64_t width = lanes;
  if (auto combine = dyn_cast<CombineOp>(op))
    width = std::gcd(lanes, int64_t(combine.getHeadDim())); // a pull stays within one head
  for (Value operand : op->getOperands())
    if (isa<RankedTensorType>(operand.getType()))
      width = std::min(width, pullWidth(operand));
  return width;
}

void KindEmitter::prepare(Value value, Value row) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return;
  if (auto select = dyn_cast<SelectRowsOp>(op))
    return prepare(select.getInput(), b.toIndex(read(memoryOf(select.getRows()), row)));
  for (Value operand : op->getOperands())
    if (auto type = dyn_cast<RankedTensorType>(operand.getType()); type && type.getRank() == 2)
      prepare(operand, row);
  if (isa<RmsNormOp, LayerNormOp>(op))
    prepareNorm(op, row);
  if (auto combine = dyn_cast<CombineOp>(op))
    prepareCombine(combine, row);
}

/// How many ranges of its attention the row has.
Value KindEmitter::rangesOf(CombineOp op, Value row) {
  Value position = b.toIndex(read(memoryOf(op.getPositions()), row));
  return b.add(lastRange(b, position, op.getWindow(), op.getSplit()), 1);
}

/// For every head the weight of each range: exp(m_r - m) / sum_r exp(m_r - m) l_r.
void KindEmitter::prepareCombine(CombineOp op, Value row) {
  int64_t headDim = op.getHeadDim(), splits = op.getSplits(),
          heads = getColumns(op.getResult()) / headDim;
  if (!prepared.count(op))
    prepared[op] = allocate({heads * splits}, b.getF32Type());
  Value weights = prepared[op], partials = memoryOf(op.getPartials());
  Type f32 = b.getF32Type();
  Value ranges = rangesOf(op, row);
  b.loop(0, heads, 1, [&](Value head) {
    Value first = b.mul(head, splits);
    auto word = [&](Value range, int64_t offset) {
      Value column = b.add(b.mul(b.add(first, range), headDim + 2), headDim + offset);
      return read(partials, {row, column});
    };
    Value sink = op.getSinks() ? read(memoryOf(op.getSinks()), head) : Value();
    Value top = b.loop(b.index(0), ranges, b.index(1), sink ? sink : b.constant(f32, -1e30),
                       [&](Value r, ValueRange carried) {
                         return SmallVector<Value>{b.fmax(carried[0], word(r, 0))};
                       })[0];
    Value none = sink ? b.exp(b.fsub(sink, top)) : b.constant(f32, 0.0);
    Value total = b.loop(b.index(0), ranges, b.index(1), none, [&](Value r, ValueRange carried) {
      Value weight = b.exp(b.fsub(word(r, 0), top));
      write(weight, weights, b.add(first, r));
      return SmallVector<Value>{b.fma(weight, word(r, 1), carried[0])};
    })[0];
    b.loop(b.index(0), ranges, b.index(1), [&](Value r) {
      Value place = b.add(first, r);
      write(b.fdiv(read(weights, place), total), weights, place);
    });
  });
}

Value KindEmitter::pullCombine(CombineOp op, const Place &place) {
  int64_t headDim = op.getHeadDim(), splits = op.getSplits();
  Value column = at(place.column), head = b.div(column, headDim), dim = b.rem(column, headDim);
  Value ranges = rangesOf(op, place.row), first = b.mul(head, splits);
  Value zero = b.constant(vector(b.getF32Type(), place.width), 0.0);
  return b.loop(b.index(0), ranges, b.index(1), zero, [&](Value r, ValueRange carried) {
    Value range = b.add(first, r);
    Column from{b.add(b.mul(range, headDim + 2), dim), 0};
    Value part = load(memoryOf(op.getPartials()), place.at(from));
    Value weight = b.splat(read(prepared[op], range), place.width);
    return SmallVector<Value>{b.fma(part, weight, carried[0])};
  })[0];
}

Value KindEmitter::pullEmbedding(EmbeddingOp op, const Place &place) {
  Value token = b.toIndex(read(memoryOf(op.getIndices()), place.row));
  token = b.add(token, int64_t(op.getOffset()));
  mk_task::WeightOp weight = tiled.lookup(op.getTable());
  if (!weight)
    return load(memoryOf(op.getTable()), place.inRow(token));
  // The table lies in tiles (it is also the head): word k / p of the row is `lanes` words times the
  // groups apart from the next, so the elements are picked one by one.
  Type element = cast<RankedTensorType>(weight.getType()).getElementType();
  int64_t perWord = mk_cta::elementsPerWord(element);
  Value unit = b.div(token, 2 * lanes), lane = b.rem(token, 2 * lanes);
  Value tile = b.mul(b.toIndex(read(memoryOf(op.getTable()), unit)), 64);
  Value elements = view("stream", tile, {ShapedType::kDynamic}, {1}, element);
  Value result = b.constant(vector(b.getF32Type(), place.width), 0.0);
  for (int64_t i = 0; i < place.width; ++i) {
    Value k = b.add(at(place.column), i);
    if (place.valid) // lanes that do not exist read an element that does, not what lies behind the
                     // stream
      k = b.min(k, b.index(getColumns(op.getResult()) - 1));
    Value word = b.add(b.mul(b.div(k, perWord), 2 * lanes), lane);
    Value value = read(elements, b.add(b.mul(word, perWord), b.rem(k, perWord)));
    result = b.create<vector::InsertOp>(b.widen(value), result, ArrayRef<int64_t>{i});
  }
  return result;
}

Value KindEmitter::pullRope(RopeOp op, const Place &place) {
  // The place is a group of the unit: A lies in the first half of what is rotated, B in the second.
  int64_t half = op.getDistance(), shift = origin(op.getInput());
  if (!isRotated(op, groups.segment, shift))
    return pull(op.getInput(), place);
  bool second = place.column + shift == groups.b;
  assert((second || place.column + shift == groups.a) && "rope outside its unit");
  Value low = pull(op.getInput(), place.at(second ? place.column + -half : place.column));
  Value high = pull(op.getInput(), place.at(second ? place.column : place.column + half));
  Type f32 = b.getF32Type();
  Value position = b.create<arith::SIToFPOp>(f32, read(memoryOf(op.getPositions()), place.row));
  Value frequencies = load(memoryOf(op.getFrequencies()), place.at({groups.within, 0}));
  auto [sine, cosine] = b.sincos(b.fmul(b.splat(position, place.width), frequencies));
  if (double scale = op.getScale().convertToDouble(); scale != 1.0) {
    Value factor = b.constant(vector(f32, place.width), scale);
    sine = b.fmul(sine, factor);
    cosine = b.fmul(cosine, factor);
  }
  return second ? b.fadd(b.fmul(high, cosine), b.fmul(low, sine))
                : b.fsub(b.fmul(low, cosine), b.fmul(high, sine));
}

/// Only the side that is taken is read: the other may hold anything.
Value KindEmitter::pullChoose(ChooseOp op, const Place &place) {
  Value predicate = read(memoryOf(op.getPredicate()), {b.index(0), b.index(0)});
  Value taken = b.create<arith::CmpFOp>(arith::CmpFPredicate::UNE, predicate,
                                        b.constant(b.getF32Type(), 0.0));
  return b.choose(
      taken, [&] { return pull(op.getTaken(), place); },
      [&] { return pull(op.getOther(), place); });
}

Value KindEmitter::pull(Value value, Place place) {
  Operation *op = value.getDefiningOp();
  if (!op) {
    auto argument = cast<BlockArgument>(value);
    Operation *parent = argument.getOwner()->getParentOp();
    auto linear = dyn_cast<LinearOp>(parent);
    if (linear && argument.getParentRegion() == &linear.getPrologue())
      return pull(linear.getInput(), place);
    if (multiplies(parent)) {
      assert((place.column == groups.a || place.column == groups.b) &&
             "accumulator outside its unit");
      return place.column == groups.a ? groups.accA : groups.accB;
    }
    return load(memoryOf(value), place);
  }
  Value result = llvm::TypeSwitch<Operation *, Value>(op)
                     .Case([&](SliceOp slice) {
                       return pull(slice.getInput(), place.at(place.column + slice.getOffset()));
                     })
                     .Case([&](ChooseOp choose) { return pullChoose(choose, place); })
                     .Case([&](GateRowsOp gate) {
                       Value number = read(memoryOf(gate.getGate()), {place.row, b.index(0)});
                       Value one = b.constant(b.getF32Type(), 1.0);
                       Value power = b.exp(b.fsub(b.constant(b.getF32Type(), 0.0), number));
                       Value factor = b.fdiv(one, b.fadd(one, power));
                       return b.fmul(pull(gate.getInput(), place), b.splat(factor, place.width));
                     })
                     .Case([&](RmsNormOp norm) { return pullNorm(norm, place); })
                     .Case([&](LayerNormOp norm) { return pullNorm(norm, place); })
                     .Case([&](HeadNormOp norm) { return pullHeadNorm(norm, place); })
                     .Case([&](SelectRowsOp select) {
                       Value row = b.toIndex(read(memoryOf(select.getRows()), place.row));
                       return pull(select.getInput(), place.inRow(row));
                     })
                     .Case([&](RopeOp rope) { return pullRope(rope, place); })
                     .Case([&](EmbeddingOp embedding) { return pullEmbedding(embedding, place); })
                     .Case([&](CombineOp combine) { return pullCombine(combine, place); })
                     .Case([&](GenericOp generic) { return pullGeneric(generic, place); })
                     .Default([&](Operation *) {
                       assert(isElementwise(op) && "an op without a value by columns");
                       SmallVector<Value> columns;
                       for (Value operand : op->getOperands())
                         columns.push_back(pull(operand, place));
                       return makeElementwise(b, op, columns);
                     });
  // A value of a narrower type is rounded where it is made, whoever reads it.
  if (getElementTypeOrSelf(value.getType()).isBF16())
    result = b.widen(b.toBf16(result, nativeBf16));
  return result;
}
