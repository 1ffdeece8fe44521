// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Evaluation by demand: one column for a thread, or the eight of a fragment.
#include "passes/analysis/Accumulators.h"
#include "passes/cpu/Elementwise.h"
#include "passes/gpu/GpuEmitter.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk;

Value GpuEmitter::pull(Value value, Value row, Column column) {
  if (SmallVector<Value> loaded = earlyOf(value.getAsOpaquePointer()); !loaded.empty())
    return loaded[0];
  Operation *op = value.getDefiningOp();
  if (!op) {
    if (auto columns = held.find(value); columns != held.end())
      return columns->second[column + origin(value) == groups.b];
    auto argument = cast<BlockArgument>(value);
    Operation *product = argument.getOwner()->getParentOp();
    if (isa<LinearOp, MoeLinearOp, MoeCombineOp>(product)) {
      if (auto linear = dyn_cast<LinearOp>(product);
          linear && argument.getParentRegion() == &linear.getPrologue())
        return pull(linear.getInput(), row, column);
      assert((column == groups.a || column == groups.b) && "accumulator outside its unit");
      int64_t half = column == groups.a ? 0 : 1;
      return accumulators[half] ? accumulators[half] : accumulator(half);
    }
    return load(memoryOf(value), row, at(column));
  }
  Value result =
      llvm::TypeSwitch<Operation *, Value>(op)
          .Case([&](SliceOp slice) {
            return pull(slice.getInput(), row, column + slice.getOffset());
          })
          .Case([&](SelectRowsOp select) {
            return pull(select.getInput(), readIndex(select.getRows(), row), column);
          })
          .Case([&](GateRowsOp gate) {
            Value number = load(memoryOf(gate.getGate()), row, b.index(0));
            Value power = b.wholeExp(b.create<arith::NegFOp>(number));
            Value factor = b.inverse(b.fadd(b.constant(f32(), 1.0), power));
            return b.fmul(pull(gate.getInput(), row, column), factor);
          })
          .Case([&](HeadNormOp norm) { return pullHeadNorm(norm, row, column); })
          .Case([&](RopeOp rope) { return pullRope(rope, row, column); })
          .Case([&](EmbeddingOp embedding) { return pullEmbedding(embedding, row, column); })
          .Case([&](CombineOp combine) { return pullCombine(combine, row, column); })
          .Case([&](GenericOp generic) { return pullGeneric(generic, row, column); })
          .Case([&](ChooseOp choose) { return pullChoose(choose, row, column); })
          .Case<RmsNormOp, LayerNormOp>([&](auto norm) {
            SmallVector<Value> vectors;
            for (Value vector : norm->getOperands().drop_front())
              vectors.push_back(load(memoryOf(vector), row, at(column)));
            return normalize(norm, row, pull(norm.getInput(), row, column), vectors);
          })
          .Default([&](Operation *) {
            assert(isElementwise(op) && "an op without a value by columns");
            SmallVector<Value> columns;
            for (Value operand : op->getOperands())
              columns.push_back(pull(operand, row, column));
            return makeElementwise(b, op, columns);
          });
  if (getElementTypeOrSelf(value.getType()).isBF16())
    result = b.widen(b.toBf16(result, /*native=*/true));
  return result;
}

Value GpuEmitter::pullRope(RopeOp op, Value row, Column column) {
  int64_t half = op.getDistance(), shift = origin(op.getInput());
  if (!isRotated(op, groups.segment, shift))
    return pull(op.getInput(), row, column);
  bool second = column + shift == groups.b;
  assert((second || column + shift == groups.a) && "rope outside its unit");
  Value low = pull(op.getInput(), row, second ? column + -half : column);
  Value high = pull(op.getInput(), row, second ? column : column + half);
  SmallVector<Value> loaded = earlyOf(op);
  return rotate(low, high, loaded.empty() ? angle(op, row) : std::pair(loaded[0], loaded[1]),
                second);
}

/// The first or second column of a pair, of which `angle` is sine and cosine.
Value GpuEmitter::rotate(Value low, Value high, std::pair<Value, Value> angle, bool second) {
  auto [sine, cosine] = angle;
  return second ? b.fadd(b.fmul(high, cosine), b.fmul(low, sine))
                : b.fsub(b.fmul(low, cosine), b.fmul(high, sine));
}

std::pair<Value, Value> GpuEmitter::angle(RopeOp op, Value row) {
  Value position = b.create<arith::SIToFPOp>(f32(), load(memoryOf(op.getPositions()), row, row));
  Value frequency = load(memoryOf(op.getFrequencies()), row, groups.within);
  auto [sine, cosine] = b.sincos(b.fmul(position, frequency));
  if (double scale = op.getScale().convertToDouble(); scale != 1.0) {
    sine = b.fmul(sine, b.constant(f32(), scale));
    cosine = b.fmul(cosine, b.constant(f32(), scale));
  }
  return {sine, cosine};
}

Value GpuEmitter::pullEmbedding(EmbeddingOp op, Value row, Column column) {
  Value token = b.add(readIndex(op.getIndices(), row), int64_t(op.getOffset()));
  mk_task::WeightOp weight = tiled.lookup(op.getTable());
  if (!weight)
    return load(memoryOf(op.getTable()), token, at(column));
  // The table is also the head's weight: row r is row r % 4 of tile r / 4, see Layout::tiles.
  auto type = cast<RankedTensorType>(weight.getType());
  Memory &places = memoryOf(op.getTable());
  Value tiles = view(places.arena, places.offset, {ShapedType::kDynamic}, {1}, b.getI32Type());
  Value tile = b.wideMul(b.toIndex(b.read(tiles, b.div(token, 4))), mk_task::kAlignment);
  Value elements = view("stream", tile, {ShapedType::kDynamic}, {1}, type.getElementType());
  // In a tile bit 3 of a column, its group of K, and bit 5, its segment, have changed places.
  Value c = at(column), group = b.rem(b.div(c, 8), 2), segment = b.rem(b.div(c, 32), 2);
  Value inThread = b.add(b.mul(segment, 4), b.add(b.mul(b.rem(b.div(c, 16), 2), 2), b.rem(c, 2)));
  Value inRow = b.add(b.mul(b.rem(b.div(c, 2), 4), 8), inThread);
  Value element = b.add(b.add(b.mul(b.div(c, 64), 256), b.mul(group, 128)),
                        b.add(b.mul(b.rem(token, 4), 32), inRow));
  return b.widen(b.read(elements, element));
}

SmallVector<Value> GpuEmitter::loadFragment(const Memory &memory, FragmentPlace place) {
  SmallVector<Value> result;
  if (memory.records) { // in the order of the host: four pairs of columns
    for (int64_t i = 0; i < 4; ++i) {
      Value pair = b.add(b.add(b.div(place.segment, 2), place.t), 4 * i);
      Value two = loadWords(memory, 2, {place.row, pair});
      for (int64_t e = 0; e < 2; ++e)
        result.push_back(b.create<arith::BitcastOp>(f32(), b.element(two, e)));
    }
    return result;
  }
  Value first = b.add(place.segment, b.mul(place.t, 8));
  auto index = [&](int64_t perVector, int64_t i) {
    Value column = b.add(b.div(first, perVector), i);
    return memory.type.getRank() == 1 ? SmallVector<Value>{column}
                                      : SmallVector<Value>{place.row, column};
  };
  if (memory.type.getElementType().isF32()) {
    for (int64_t i = 0; i < 2; ++i) {
      Value four = loadWords(memory, 4, index(4, i));
      for (int64_t e = 0; e < 4; ++e)
        result.push_back(b.create<arith::BitcastOp>(f32(), b.element(four, e)));
    }
    return result;
  }
  Value words = loadWords(memory, 4, index(8, 0));
  for (int64_t i = 0; i < 4; ++i)
    for (Value x : b.halves(b.element(words, i)))
      result.push_back(x);
  return result;
}

SmallVector<Value> GpuEmitter::pullFragment(Value value, FragmentPlace place) {
  Operation *op = value.getDefiningOp();
  if (!op) {
    if (auto linear = dyn_cast<LinearOp>(cast<BlockArgument>(value).getOwner()->getParentOp()))
      return pullFragment(linear.getInput(), place);
    return loadFragment(memoryOf(value), place);
  }
  return llvm::TypeSwitch<Operation *, SmallVector<Value>>(op)
      .Case([&](SliceOp slice) {
        return pullFragment(slice.getInput(),
                            {place.row, b.add(place.segment, slice.getOffset()), place.t});
      })
      .Case([&](SelectRowsOp select) {
        return pullFragment(select.getInput(),
                            {readIndex(select.getRows(), place.row), place.segment, place.t});
      })
      .Case([&](CombineOp combine) {
        int64_t headDim = combine.getHeadDim();
        Value head = b.div(place.segment, headDim), dim = b.rem(place.segment, headDim);
        const Memory &partials = memoryOf(combine.getPartials());
        Memory sums = partials;
        return joinRanges(combine, place.row, head, 8, [&](Value range) {
          return loadFragment(sums, {place.row, b.add(b.mul(range, headDim), dim), place.t});
        });
      })
      .Case<RmsNormOp, LayerNormOp>([&](auto norm) {
        SmallVector<Value> result = pullFragment(norm.getInput(), place);
        SmallVector<SmallVector<Value>> vectors;
        for (Value vector : norm->getOperands().drop_front())
          vectors.push_back(pullFragment(vector, place));
        for (auto [i, x] : llvm::enumerate(result)) {
          auto of = llvm::map_to_vector(vectors, [&, i = i](auto &vector) { return vector[i]; });
          x = normalize(norm, place.row, x, of);
        }
        return result;
      })
      .Default([&](Operation *) {
        assert(isElementwise(op) && "an op without a value by fragments");
        SmallVector<SmallVector<Value>> operands;
        for (Value operand : op->getOperands())
          operands.push_back(pullFragment(operand, place));
        SmallVector<Value> result;
        for (size_t i = 0; i < operands[0].size(); ++i)
          result.push_back(makeElementwise(
              b, op, llvm::map_to_vector(operands, [&](auto &operand) { return operand[i]; })));
        return result;
      });
}
