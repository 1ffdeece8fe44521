// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Columns of a mk.generic. A vector has one lane for each of neighbouring columns of the result;
// around it are the loops over the reductions, in ascending order, so that a lane's number does not
// depend on which other columns there are. An input whose columns the lanes see side by side is
// loaded as a vector, one of which all see the same as a number, any other one is gathered.
#include "passes/cpu/GenericRegion.h"
#include "passes/cpu/KindEmitter.h"

#include <numeric>

using namespace mlir;
using namespace mlir::mk;

/// 0, 1, ... in the lanes.
static Value laneNumbers(CodeBuilder &b, int64_t lanes) {
  SmallVector<int32_t> numbers(lanes);
  std::iota(numbers.begin(), numbers.end(), 0);
  return b.create<arith::ConstantOp>(
      DenseElementsAttr::get(VectorType::get({lanes}, b.getI32Type()), ArrayRef<int32_t>(numbers)));
}

Value KindEmitter::gather(Value memory, Value row, Value columns, Value mask) {
  auto type = cast<MemRefType>(memory.getType());
  VectorType result =
      vector(type.getElementType(), cast<VectorType>(columns.getType()).getDimSize(0));
  SmallVector<Value> indices(type.getRank(), b.index(0));
  if (type.getRank() == 2)
    indices[0] = row;
  Value zero = b.create<arith::ConstantOp>(b.getZeroAttr(result));
  return b.widen(b.create<vector::GatherOp>(result, memory, indices, columns, mask, zero));
}

Value KindEmitter::pullGeneric(GenericOp op, const Place &place) {
  int64_t width = place.width, total = getColumns(op.getResult());
  Value first = at(place.column);
  // A group without a valid lane begins behind the row; what all lanes see alike is read even then.
  Value shared = place.valid ? b.min(first, b.index(total - 1)) : first;
  SmallVector<Value> dims = splitColumn(b, op, shared), laneDims;
  Value mask;
  auto lanesNeeded = [&] {
    if (mask)
      return;
    Value column = b.create<arith::AddIOp>(b.splat(b.toI32(first), width), laneNumbers(b, width));
    laneDims = splitColumn(b, op, column);
    VectorType bits = vector(b.getI1Type(), width);
    mask = place.valid ? b.create<vector::CreateMaskOp>(bits, ValueRange(place.valid)).getResult()
                       : b.constant(bits, 1);
  };
  // Before the loops: what is made in one could not be used behind it.
  lanesNeeded();

  RegionPoint point;
  SmallVector<Value> counters; // of the reductions around, index
  auto scalarDims = [&] {
    SmallVector<Value> all(dims);
    all.append(counters);
    return all;
  };
  auto vectorDims = [&] {
    SmallVector<Value> all(laneDims);
    for (Value counter : counters)
      all.push_back(b.splat(b.toI32(counter), width));
    return all;
  };
  point.input = [&](unsigned number) -> Value {
    Value memory = memoryOf(op.getInputs()[number]);
    auto type = cast<RankedTensorType>(op.getInputs()[number].getType());
    if (type.getElementType().isInteger(32))
      return b.splat(read(memory, place.row), width);
    AffineExpr column = op.getMap(number).getResult(0);
    std::optional<int64_t> stride = getLaneStride(op, column, width);
    if (!stride)
      return gather(memory, place.row, makeAffine(b, column, vectorDims()), mask);
    // From the lane that the vector begins with; of a vector without a valid lane, none is loaded.
    if (*stride == 1) {
      Value from = makeAffine(b, column, scalarDims());
      if (place.valid)
        from = b.add(from, b.sub(first, shared));
      return load(memory, {place.row, {from, 0}, width, place.valid});
    }
    SmallVector<Value> indices;
    if (type.getRank() == 2)
      indices.push_back(place.row);
    indices.push_back(makeAffine(b, column, scalarDims()));
    return b.splat(b.widen(read(memory, indices)), width);
  };
  point.element = [&](unsigned number, Value index) {
    Value table = op.getTables()[number];
    Type integers = vector(b.getI32Type(), width);
    Value last = b.constant(integers, double(getColumns(table) - 1));
    index = b.create<arith::MaxSIOp>(index, b.constant(integers, 0));
    index = b.create<arith::MinSIOp>(index, last);
    return gather(memoryOf(table), place.row, index, mask);
  };
  point.iteration = [&](int64_t dim) { return vectorDims()[dim]; };
  point.type = vector(b.getF32Type(), width);
  return makeReductions(b, op, point, counters);
}
