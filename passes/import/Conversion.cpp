// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What the rules share: weights by name, and rows out of views.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

LogicalResult Conversion::declareWeight(StringAttr name, ArrayRef<int64_t> shape) {
  auto [entry, isNew] = weightShapes.try_emplace(name, shape.begin(), shape.end());
  return success(isNew || ArrayRef<int64_t>(entry->second) == shape);
}

Value Conversion::getWeight(StringAttr name, Location location) {
  Value &weight = weights[name];
  if (!weight) {
    ArrayRef<int64_t> shape = getWeightShape(name);
    Type elementType = shape.size() == 1 ? builder.getF32Type() : weightType;
    weight = create<WeightOp>(location, RankedTensorType::get(shape, elementType),
                              FlatSymbolRefAttr::get(name));
  }
  return weight;
}

Value Conversion::getRows(const Meaning &meaning, Location location) {
  if (meaning.kind != Kind::Rows && meaning.kind != Kind::Silu && meaning.kind != Kind::Square) {
    note("activation rows are needed, not " + describe(meaning.kind));
    return Value();
  }
  const RowView &view = meaning.view;
  std::optional<int64_t> columns = countNeighbouringColumns(view.axes);
  if (llvm::count_if(view.axes, [](const Axis &axis) { return axis.isRow(); }) != 1 || !columns ||
      *columns == 0) {
    note("the columns seen must be neighbours in every row");
    return Value();
  }
  RankedTensorType type = getRowsType(*columns);
  Value rows = view.value;
  if (rows.getType() != type)
    rows = create<SliceOp>(location, type, rows, builder.getI64IntegerAttr(view.offset));
  if (meaning.kind == Kind::Silu)
    return create<SiluOp>(location, type, rows);
  if (meaning.kind == Kind::Square)
    return create<MulOp>(location, type, rows, rows);
  return rows;
}

Value Conversion::getPlainRows(const Meaning &meaning, Location location) {
  if (!meaning.view.axes.empty() && !isRowMajor(meaning.view.axes)) {
    note("the operand must be laid out row by row, with its columns in order");
    return Value();
  }
  return getRows(meaning, location);
}

Meaning Conversion::makeRows(Value value, Axes axes, Value domain) const {
  Meaning rows;
  rows.kind = Kind::Rows;
  rows.view = RowView{value, 0, std::move(axes), domain};
  return rows;
}

std::optional<Meaning> Rules::apply(StringRef name, Conversion &conversion, Operation *op) const {
  auto found = rules.find(name);
  if (found == rules.end())
    return std::nullopt;
  for (const Entry &entry : found->second)
    if (op->getNumOperands() >= entry.operands)
      if (std::optional<Meaning> meaning = entry.rule(conversion, op))
        return meaning;
  return std::nullopt;
}
