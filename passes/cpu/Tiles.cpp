// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of a `tiles` kind: stage the rows, then for each tile multiply and run the epilogue.
#include "passes/cpu/KindEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// Rows that one product handles: as many as leave their accumulators in registers, then fewer for
/// the rest.
static SmallVector<int64_t> blockSizes(int64_t lanes) {
  if (lanes >= 16)
    return {12, 4, 1}; // 24 of 32 registers
  return {6, 2, 1};    // 12 of 16
}

/// What the weights multiply, as rows of their element type: the input buffer itself where that is
/// what it holds, else the prologue's result, computed once for the whole task.
Value KindEmitter::stageRows(LinearOp linear, Value count) {
  Type element = linear.getWeightType();
  int64_t perWord = mk_cta::elementsPerWord(element), inner = linear.getInnerSize();
  int64_t padded = llvm::alignTo(inner, perWord);
  Value input = linear.getInput();
  if (linear.getPrologue().empty() && padded == inner &&
      cast<RankedTensorType>(input.getType()).getElementType() == element)
    return memoryOf(input);

  Value result = linear.getPrologue().empty()
                     ? input
                     : linear.getPrologue().front().getTerminator()->getOperand(0);
  int64_t width = pullWidth(result), pitch = llvm::alignTo(padded, lanes);
  int64_t most =
      kind.getDomain() == mk_task::Domain::tokens ? options.getMaxTokens() : options.getMaxRows();
  Value staged = allocate({most, pitch}, element);
  b.loop(b.index(0), count, b.index(1), [&](Value row) {
    prepare(result, row);
    int64_t whole = inner / width * width;
    b.loop(b.index(0), b.index(whole), b.index(width), [&](Value column) {
      Place place{row, {column, 0}, width, nullptr};
      store(pull(result, place), staged, place);
    });
    if (whole != inner) { // the pad up to a full word must be zero: it meets zero weights, but 0 *
                          // NaN is NaN
      Place place{row, {nullptr, whole}, width, b.index(inner - whole)};
      Value value = pull(result, place);
      Value mask =
          b.create<vector::CreateMaskOp>(vector(b.getI1Type(), width), ValueRange(place.valid));
      value = b.create<arith::SelectOp>(mask, value, b.constant(value.getType(), 0.0));
      place.valid = b.index(std::min(width, padded - whole));
      store(value, staged, place);
    }
  });
  auto layout = StridedLayoutAttr::get(b.getContext(), 0, {pitch, 1});
  return b.create<memref::ReinterpretCastOp>(MemRefType::get({most, padded}, element, layout),
                                             staged, 0, ArrayRef<int64_t>{most, padded},
                                             ArrayRef<int64_t>{pitch, 1});
}

int64_t KindEmitter::mostBlockRows() { return blockSizes(lanes)[0]; }

void KindEmitter::emitTile(Value tile, Value rows, Value count, Value acc,
                           function_ref<void(Value row)> finish) {
  SmallVector<int64_t> blocks = blockSizes(lanes);
  b.loopWhile(
      b.index(0), [&](ValueRange carried) { return b.less(carried[0], count); },
      [&](ValueRange carried) {
        Value first = carried[0], left = b.sub(count, first);
        // The largest block that fits, by a chain of conditions.
        std::function<Value(size_t)> product = [&](size_t i) -> Value {
          auto multiply = [&] {
            b.create<mk_cta::MatmulOp>(tile, rows, first, acc, blocks[i]);
            return b.index(blocks[i]);
          };
          if (i + 1 == blocks.size())
            return multiply();
          Value fits = b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, left, b.index(blocks[i]));
          auto ifOp = b.create<scf::IfOp>(TypeRange(b.getIndexType()), fits, true);
          OpBuilder::InsertionGuard guard(b);
          b.setInsertionPointToStart(&ifOp.getThenRegion().front());
          b.create<scf::YieldOp>(multiply());
          b.setInsertionPointToStart(&ifOp.getElseRegion().front());
          b.create<scf::YieldOp>(product(i + 1));
          return ifOp.getResult(0);
        };
        Value done = product(0);
        b.loop(b.index(0), done, b.index(1), [&](Value i) {
          auto accumulators = [&](int64_t group) -> Value {
            return b.create<vector::LoadOp>(vector(b.getF32Type(), lanes), acc,
                                            ValueRange{i, b.index(group), b.index(0)});
          };
          groups.accA = accumulators(0);
          groups.accB = accumulators(1);
          finish(b.add(first, i));
        });
        return SmallVector<Value>{b.add(first, done)};
      });
}

LogicalResult KindEmitter::emitTiles() {
  auto linear = cast<LinearOp>(kind.getAnchor());
  if (!linear.getEpilogue().empty())
    for (Operation &op : linear.getEpilogue().front().without_terminator())
      if (!isElementwise(&op) && !isa<SliceOp, RopeOp, KvAppendOp, ArgmaxPartialOp>(op))
        return refuse(&op,
                      "cannot run on the accumulators of a tile: expected work on single columns");
  if (!linear.getPrologue().empty())
    for (Operation &op : linear.getPrologue().front().without_terminator()) {
      if (!isElementwise(&op) && !isa<SliceOp, RmsNormOp, LayerNormOp, SelectRowsOp, CombineOp>(op))
        return refuse(&op, "cannot run before a product: expected row-wise work");
      if (auto combine = dyn_cast<CombineOp>(op); combine && combine.getPartials().getDefiningOp())
        return refuse(&op, "expects the ranges of its attention from memory");
    }

  Type element = linear.getWeightType();
  int64_t perWord = mk_cta::elementsPerWord(element);
  int64_t words = llvm::divideCeil(linear.getInnerSize(), perWord);
  int64_t tileBytes = mk_task::getTileBytes(linear.getWeights().front().getType(), lanes);
  Value count = rowCount(kind.getDomain()), begin = field("begin"),
        stream = b.mul(field("stream"), mk_task::kAlignment);
  Value rows = stageRows(linear, count);
  Value acc = allocate({mostBlockRows(), 2, lanes}, b.getF32Type());
  forUnits(begin, field("end"), [&](UnitGroups unitGroups, Value unit) {
    groups = unitGroups;
    Value place = b.add(stream, b.mul(b.sub(unit, begin), tileBytes));
    Value tile = view("stream", place, {words, 2, lanes * perWord},
                      {2 * lanes * perWord, lanes * perWord, 1}, element);
    emitTile(tile, rows, count, acc, [&](Value row) { storeUnit(row, unit); });
  });
  return success();
}
