// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Rotary embedding in half-split order: x * cos + rotate_half(x) * sin.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

static std::optional<Meaning> negate(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  if (x.kind != Kind::Rows)
    return std::nullopt;
  x.kind = Kind::Negated;
  return x;
}

/// cat([-second half, first half], -1)
static std::optional<Meaning> rotateHalves(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> parts = readList(op->getOperand(0));
  if (!parts || parts->size() != 2)
    return std::nullopt;
  Meaning second = conversion.get((*parts)[0]), first = conversion.get((*parts)[1]);
  Axes &axes = first.view.axes;
  int64_t rank = axes.size();
  if (second.kind != Kind::Negated || first.kind != Kind::Rows ||
      readDimension(op->getOperand(1), rank) != rank - 1)
    return std::nullopt;
  RowView expected = first.view;
  expected.offset += axes.back().size;
  bool isHalf = axes.back() == Axis::columns(axes.back().size, 1) && second.view == expected;
  if (!isHalf) {
    conversion.note("a rotation must negate the second half of a head and put it before the first");
    return std::nullopt;
  }
  axes.back() = Axis::columns(2 * axes.back().size, 1);
  first.kind = Kind::RotatedHalves;
  return first;
}

/// True if the table gives every column of a head, for every head alike, the factor of its row.
static bool fitsHeads(Conversion &conversion, const Meaning &table, const Meaning &x) {
  int64_t headDim = 2 * conversion.getWeightShape(table.weight)[0];
  ArrayRef<Axis> axes = x.view.axes;
  if (table.view.axes.size() > axes.size() || !table.doubled || x.view.domain)
    return false;
  Axes factors = padAxes(table.view.axes, axes.size());
  Axis columns = Axis::columns(headDim, 1);
  if (!(axes.back() == columns) || !(factors.back() == columns))
    return false;
  return llvm::all_of(llvm::zip_equal(axes.drop_back(), ArrayRef<Axis>(factors).drop_back()),
                      [](auto pair) {
                        auto [axis, factor] = pair;
                        return axis.isRow() ? factor.isRow() : factor.isUnit();
                      });
}

static std::optional<Meaning> multiplyByTable(Conversion &conversion, Operation *op, Kind from,
                                              Kind tableKind, Kind product) {
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning x = conversion.get(op->getOperand(left)), table = conversion.get(op->getOperand(right));
    if (x.kind != from || table.kind != tableKind)
      continue;
    if (!fitsHeads(conversion, table, x)) {
      conversion.note("the rotation table must have one row per token and twice its frequencies as "
                      "columns, like the heads it rotates");
      return std::nullopt;
    }
    x.kind = product;
    x.weight = table.weight;
    x.number = table.number;
    return x;
  }
  return std::nullopt;
}
static std::optional<Meaning> timesCosine(Conversion &conversion, Operation *op) {
  return multiplyByTable(conversion, op, Kind::Rows, Kind::Cosine, Kind::TimesCosine);
}
static std::optional<Meaning> timesSine(Conversion &conversion, Operation *op) {
  return multiplyByTable(conversion, op, Kind::RotatedHalves, Kind::Sine, Kind::TimesSine);
}

/// torch.aten.add.Tensor(cosine part, sine part, alpha)
static std::optional<Meaning> rotate(Conversion &conversion, Operation *op) {
  Meaning cosine = conversion.get(op->getOperand(0)), sine = conversion.get(op->getOperand(1));
  if (cosine.kind == Kind::TimesSine)
    std::swap(cosine, sine);
  if (cosine.kind != Kind::TimesCosine || sine.kind != Kind::TimesSine ||
      readNumber(op->getOperand(2)) != 1.0)
    return std::nullopt;
  if (!(cosine.view == sine.view) || cosine.weight != sine.weight || cosine.number != sine.number) {
    conversion.note("both parts of a rotation must have the same rows, frequencies and scale");
    return std::nullopt;
  }
  Axes axes = cosine.view.axes;
  double scale = cosine.number;
  StringAttr frequencies = cosine.weight;
  cosine.kind = Kind::Rows;
  Value rows = conversion.getRows(cosine, op->getLoc());
  if (!rows)
    return std::nullopt;
  Value result = conversion.create<RopeOp>(
      op->getLoc(), rows.getType(), rows, conversion.getInput("positions"),
      conversion.getWeight(frequencies, op->getLoc()), conversion.getI64(axes.back().size),
      conversion.getF64(scale));
  return conversion.makeRows(result, axes, Value());
}

void mk::addRopeRules(Rules &rules) {
  rules.add("torch.aten.neg", 1, negate);
  rules.add("torch.aten.cat", 2, rotateHalves);
  rules.add("torch.aten.mul.Tensor", 2, timesCosine);
  rules.add("torch.aten.mul.Tensor", 2, timesSine);
  rules.add("torch.aten.add.Tensor", 3, rotate);
}
