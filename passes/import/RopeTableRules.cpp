// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The cosine and sine tables of rotary embeddings: positions times frequencies, once for all
// layers.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// The axes of a product in which every axis comes from one operand only.
static std::optional<Axes> outerAxes(ArrayRef<Axis> a, ArrayRef<Axis> b) {
  size_t rank = std::max(a.size(), b.size());
  Axes axes = padAxes(a, rank), other = padAxes(b, rank);
  for (auto [axis, otherAxis] : llvm::zip_equal(axes, other)) {
    if (!axis.isUnit() && !otherAxis.isUnit())
      return std::nullopt;
    if (axis.isUnit())
      axis = otherAxis;
  }
  return axes;
}

static std::optional<Meaning> makeAngles(Conversion &conversion, const Meaning &positions,
                                         const Meaning &frequencies, std::optional<Axes> axes) {
  if (!axes || positions.kind != Kind::Positions || frequencies.kind != Kind::Vector ||
      frequencies.number != 0)
    return std::nullopt;
  Meaning angles = positions;
  angles.kind = Kind::Angles;
  angles.weight = frequencies.weight;
  angles.view.axes = *axes;
  return angles;
}

/// positions[:, None] * frequencies
static std::optional<Meaning> multiply(Conversion &conversion, Operation *op) {
  Meaning a = conversion.get(op->getOperand(0)), b = conversion.get(op->getOperand(1));
  std::optional<Axes> axes = outerAxes(a.view.axes, b.view.axes);
  if (a.kind == Kind::Vector)
    std::swap(a, b);
  return makeAngles(conversion, a, b, axes);
}

/// frequencies[:, None] @ positions[None, :], or the other way round
static std::optional<Meaning> matrixMultiply(Conversion &conversion, Operation *op) {
  Meaning a = conversion.get(op->getOperand(0)), b = conversion.get(op->getOperand(1));
  ArrayRef<Axis> left = a.view.axes, right = b.view.axes;
  // With an inner size of one, a matrix product is an outer product.
  if (left.size() < 2 || left.size() != right.size() || !left.back().isUnit() ||
      !right[right.size() - 2].isUnit())
    return std::nullopt;
  std::optional<Axes> axes = outerAxes(left, right);
  if (a.kind == Kind::Vector)
    std::swap(a, b);
  return makeAngles(conversion, a, b, axes);
}

static bool isTable(const Meaning &meaning) {
  return meaning.kind == Kind::Angles || meaning.kind == Kind::Cosine || meaning.kind == Kind::Sine;
}

/// The table with every frequency twice along its last axis.
static std::optional<Meaning> doubleTable(Conversion &conversion, Meaning table, Value dimension,
                                          Pairs pairs) {
  Axes &axes = table.view.axes;
  int64_t rank = axes.size(), count = conversion.getWeightShape(table.weight)[0];
  if (table.pairs != Pairs::None || readDimension(dimension, rank) != rank - 1 ||
      !(axes.back() == Axis::columns(count, 1)))
    return std::nullopt;
  axes.back() = Axis::columns(2 * count, 1);
  table.pairs = pairs;
  return table;
}

/// cat([table, table], -1)
static std::optional<Meaning> repeatAll(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> parts = readList(op->getOperand(0));
  if (!parts || parts->size() != 2)
    return std::nullopt;
  Meaning first = conversion.get((*parts)[0]), second = conversion.get((*parts)[1]);
  return isTable(first) && first == second
             ? doubleTable(conversion, first, op->getOperand(1), Pairs::Halves)
             : std::nullopt;
}

/// torch.aten.repeat_interleave.self_int(table, 2, -1, output_size)
static std::optional<Meaning> repeatEach(Conversion &conversion, Operation *op) {
  Meaning table = conversion.get(op->getOperand(0));
  if (!isTable(table) || readInt(op->getOperand(1)) != 2)
    return std::nullopt;
  return doubleTable(conversion, table, op->getOperand(2), Pairs::Neighbours);
}

/// stack([table, table], -1), whose last two axes are then joined
static std::optional<Meaning> stackTwice(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> parts = readList(op->getOperand(0));
  if (!parts || parts->size() != 2)
    return std::nullopt;
  Meaning table = conversion.get((*parts)[0]);
  int64_t rank = table.view.axes.size();
  if (!isTable(table) || !(table == conversion.get((*parts)[1])) || table.pairs != Pairs::None ||
      readDimension(op->getOperand(1), rank + 1) != rank)
    return std::nullopt;
  table.view.axes.back() = Axis::columns(table.view.axes.back().size, 2);
  table.view.axes.push_back(Axis::columns(2, 1));
  table.pairs = Pairs::Neighbours;
  return table;
}

/// The first copy of a table that has two, one after the other.
static std::optional<Meaning> halveTable(Conversion &conversion, Operation *op) {
  Meaning table = conversion.get(op->getOperand(0));
  int64_t rank = table.view.axes.size();
  if (!isTable(table) || table.pairs != Pairs::Halves ||
      readDimension(op->getOperand(1), rank) != rank - 1)
    return std::nullopt;
  int64_t half = table.view.axes.back().size / 2;
  std::optional<int64_t> start = isNone(op->getOperand(2)) ? 0 : readInt(op->getOperand(2));
  if (start != 0 || readInt(op->getOperand(3)) != half || readInt(op->getOperand(4)) != 1)
    return std::nullopt;
  table.view.axes.back() = Axis::columns(half, 1);
  table.pairs = Pairs::None;
  return table;
}

static std::optional<Meaning> makeTable(Conversion &conversion, Operation *op, Kind kind) {
  Meaning angles = conversion.get(op->getOperand(0));
  if (angles.kind != Kind::Angles)
    return std::nullopt;
  angles.kind = kind;
  angles.number = 1;
  return angles;
}
static std::optional<Meaning> cosine(Conversion &conversion, Operation *op) {
  return makeTable(conversion, op, Kind::Cosine);
}
static std::optional<Meaning> sine(Conversion &conversion, Operation *op) {
  return makeTable(conversion, op, Kind::Sine);
}

/// The factor that long-context variants put on both tables.
static std::optional<Meaning> scaleTable(Conversion &conversion, Operation *op) {
  Meaning table = conversion.get(op->getOperand(0));
  std::optional<double> factor = readNumber(op->getOperand(1));
  if ((table.kind != Kind::Cosine && table.kind != Kind::Sine) || !factor)
    return std::nullopt;
  table.number *= *factor;
  return table;
}

void mk::addRopeTableRules(Rules &rules) {
  rules.add("torch.aten.mul.Tensor", 2, multiply);
  for (StringRef name : {"torch.aten.matmul", "torch.aten.bmm", "torch.aten.mm"})
    rules.add(name, 2, matrixMultiply);
  rules.add("torch.aten.cat", 2, repeatAll);
  rules.add("torch.aten.repeat_interleave.self_int", 3, repeatEach);
  rules.add("torch.aten.stack", 2, stackTwice);
  rules.add("torch.aten.slice.Tensor", 5, halveTable);
  rules.add("torch.aten.cos", 1, cosine);
  rules.add("torch.aten.sin", 1, sine);
  rules.add("torch.aten.mul.Scalar", 2, scaleTable);
}
