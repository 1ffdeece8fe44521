// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Rotary embedding of the halves a, b of a head one by one, with tables of half a head:
// cat(a * cos - b * sin, b * cos + a * sin).

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// True if the table gives every column of half a head, for every head alike, the factor of its
/// row.
static bool fitsHalves(Conversion &conversion, const Meaning &table, const Meaning &half) {
  ArrayRef<Axis> axes = half.view.axes;
  if (table.view.axes.size() > axes.size() || half.view.domain || half.view.evenFirst)
    return false;
  Axes factors = padAxes(table.view.axes, axes.size());
  Axis columns = Axis::columns(conversion.getWeightShape(table.weight)[0], 1);
  if (!(axes.back() == columns) || !(factors.back() == columns))
    return false;
  return llvm::all_of(llvm::zip_equal(axes.drop_back(), ArrayRef<Axis>(factors).drop_back()),
                      [](auto pair) {
                        auto [axis, factor] = pair;
                        return axis.isRow() ? factor.isRow() : factor.isUnit();
                      });
}

static std::optional<Meaning> multiplyHalf(Conversion &conversion, Operation *op) {
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning x = conversion.get(op->getOperand(left)), table = conversion.get(op->getOperand(right));
    bool isTable = table.kind == Kind::Cosine || table.kind == Kind::Sine;
    if (x.kind != Kind::Rows || !isTable || !fitsHalves(conversion, table, x))
      continue;
    x.kind = table.kind == Kind::Cosine ? Kind::HalfTimesCosine : Kind::HalfTimesSine;
    x.weight = table.weight;
    x.number = table.number;
    return x;
  }
  return std::nullopt;
}

/// A rotated half: that with the cosine, which the other one turns into.
static std::optional<Meaning> turnHalf(Conversion &conversion, Operation *op, Meaning cosine,
                                       Meaning sine, Kind kind) {
  if (cosine.kind != Kind::HalfTimesCosine || sine.kind != Kind::HalfTimesSine ||
      readNumber(op->getOperand(2)) != 1.0)
    return std::nullopt;
  RowView expected = cosine.view;
  expected.offset += (kind == Kind::TurnedFirst ? 1 : -1) * cosine.view.axes.back().size;
  if (!(sine.view == expected) || cosine.weight != sine.weight || cosine.number != sine.number) {
    conversion.note("a rotation of halves must join both halves of a head, with the same "
                    "frequencies and scale");
    return std::nullopt;
  }
  cosine.kind = kind;
  return cosine;
}

/// first half * cos - second half * sin
static std::optional<Meaning> turnFirst(Conversion &conversion, Operation *op) {
  return turnHalf(conversion, op, conversion.get(op->getOperand(0)),
                  conversion.get(op->getOperand(1)), Kind::TurnedFirst);
}

/// second half * cos + first half * sin
static std::optional<Meaning> turnSecond(Conversion &conversion, Operation *op) {
  Meaning cosine = conversion.get(op->getOperand(0)), sine = conversion.get(op->getOperand(1));
  if (cosine.kind == Kind::HalfTimesSine)
    std::swap(cosine, sine);
  return turnHalf(conversion, op, cosine, sine, Kind::TurnedSecond);
}

static std::optional<Meaning> joinHalves(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> parts = readList(op->getOperand(0));
  if (!parts || parts->size() != 2)
    return std::nullopt;
  Meaning first = conversion.get((*parts)[0]), second = conversion.get((*parts)[1]);
  int64_t rank = first.view.axes.size();
  if (first.kind != Kind::TurnedFirst || second.kind != Kind::TurnedSecond ||
      readDimension(op->getOperand(1), rank) != rank - 1)
    return std::nullopt;
  RowView expected = first.view;
  expected.offset += first.view.axes.back().size;
  if (!(second.view == expected) || first.weight != second.weight ||
      first.number != second.number) {
    conversion.note("a rotation of halves must join both halves of a head, with the same "
                    "frequencies and scale");
    return std::nullopt;
  }
  Meaning heads = first;
  heads.kind = Kind::Rows;
  Axis &columns = heads.view.axes.back();
  columns = Axis::columns(2 * columns.size, 1);
  Value rows = conversion.getRows(heads, op->getLoc());
  if (!rows)
    return std::nullopt;
  Meaning frequencies;
  frequencies.kind = Kind::Vector;
  frequencies.weight = first.weight;
  Value result = conversion.create<RopeOp>(
      op->getLoc(), rows.getType(), rows, conversion.getInput("positions"),
      conversion.getWeight(frequencies, op->getLoc()), conversion.getI64(columns.size),
      conversion.getF64(first.number), conversion.getI64(0));
  return conversion.makeRows(result, heads.view.axes, Value());
}

void mk::addHalfRotationRules(Rules &rules) {
  rules.add("torch.aten.mul.Tensor", 2, multiplyHalf);
  rules.add("torch.aten.sub.Tensor", 3, turnFirst);
  rules.add("torch.aten.add.Tensor", 3, turnSecond);
  rules.add("torch.aten.cat", 2, joinHalves);
}
