// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Rotary embedding in half-split order: x * cos + rotate_half(x) * sin.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

static std::optional<Meaning> negate(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  if (x.kind != Kind::Rows || x.view.evenFirst)
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

/// stack([-columns of odd number, columns of even number], -1), whose last two axes are then joined
static std::optional<Meaning> rotatePairs(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> parts = readList(op->getOperand(0));
  if (!parts || parts->size() != 2)
    return std::nullopt;
  Meaning odd = conversion.get((*parts)[0]), even = conversion.get((*parts)[1]);
  Axes &axes = even.view.axes;
  int64_t rank = axes.size();
  if (odd.kind != Kind::Negated || even.kind != Kind::Rows ||
      readDimension(op->getOperand(1), rank + 1) != rank)
    return std::nullopt;
  RowView expected = even.view;
  expected.offset += 1;
  if (!(axes.back() == Axis::columns(axes.back().size, 2)) || !(odd.view == expected)) {
    conversion.note("a rotation must negate the second column of each pair and put it first");
    return std::nullopt;
  }
  axes.push_back(Axis::columns(2, 1));
  even.kind = Kind::RotatedPairs;
  return even;
}

/// True if the table gives every column of a head, for every head alike, the factor of its row.
static bool fitsHeads(Conversion &conversion, const Meaning &table, const Meaning &x) {
  int64_t headDim = 2 * conversion.getWeightShape(table.weight)[0];
  ArrayRef<Axis> axes = x.view.axes;
  if (table.view.axes.size() > axes.size() || table.pairs == Pairs::None || x.view.domain ||
      x.view.evenFirst)
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
    if ((from == Kind::RotatedHalves && table.pairs != Pairs::Halves) ||
        (from == Kind::RotatedPairs && table.pairs != Pairs::Neighbours)) {
      conversion.note("the columns that a rotation swaps must have the same frequency");
      return std::nullopt;
    }
    x.kind = product;
    x.pairs = table.pairs;
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
  if (std::optional<Meaning> halves =
          multiplyByTable(conversion, op, Kind::RotatedHalves, Kind::Sine, Kind::TimesSine))
    return halves;
  return multiplyByTable(conversion, op, Kind::RotatedPairs, Kind::Sine, Kind::TimesSine);
}

/// The rotation of the first columns of heads that `rotated` shows, with `rest` columns behind
/// them. Neighbours are partners half a head apart if columns of even number come first.
static std::optional<Meaning> emitRotation(Conversion &conversion, Operation *op,
                                           const Meaning &rotated, int64_t rest) {
  Meaning heads = conversion.makeRows(rotated.view.value, rotated.view.axes, Value());
  heads.view.offset = rotated.view.offset;
  Axis &columns = heads.view.axes.back();
  columns = Axis::columns(columns.size + rest, 1);
  int64_t headDim = columns.size;
  bool neighbours = rotated.pairs == Pairs::Neighbours;
  std::optional<Meaning> gathered = conversion.gather(heads, neighbours, op->getLoc());
  if (!gathered)
    return std::nullopt;
  gathered->view.evenFirst = false;
  Value rows = conversion.getRows(*gathered, op->getLoc());
  if (!rows)
    return std::nullopt;
  Meaning frequencies;
  frequencies.kind = Kind::Vector;
  frequencies.weight = rotated.weight;
  Value result = conversion.create<RopeOp>(
      op->getLoc(), rows.getType(), rows, conversion.getInput("positions"),
      conversion.getWeight(frequencies, op->getLoc()), conversion.getI64(headDim),
      conversion.getF64(rotated.number), conversion.getI64(neighbours && rest ? headDim / 2 : 0));
  Meaning meaning = conversion.makeRows(result, gathered->view.axes, Value());
  meaning.view.evenFirst = neighbours;
  return meaning;
}

/// Whether the tensor becomes a part of another one.
static bool isJoined(Value tensor) {
  return llvm::any_of(tensor.getUsers(), [](Operation *user) {
    return user->getName().getStringRef() == "torch.prim.ListConstruct" &&
           llvm::any_of(user->getResult(0).getUsers(), [](Operation *list) {
             return list->getName().getStringRef() == "torch.aten.cat";
           });
  });
}

/// cat([rotated columns, the other columns of the heads], -1)
static std::optional<Meaning> joinRotated(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> parts = readList(op->getOperand(0));
  if (!parts)
    return std::nullopt;
  llvm::erase_if(*parts, [](Value part) {
    std::optional<TorchTensorType> type = parseTorchTensor(part.getType());
    return type && llvm::is_contained(type->shape, 0);
  });
  if (parts->empty() || parts->size() > 2)
    return std::nullopt;
  Meaning rotated = conversion.get(parts->front());
  int64_t rank = rotated.view.axes.size();
  if (rotated.kind != Kind::PartRotated || readDimension(op->getOperand(1), rank) != rank - 1)
    return std::nullopt;
  int64_t rest = 0;
  if (parts->size() == 2) {
    Meaning other = conversion.get(parts->back());
    RowView expected = rotated.view;
    expected.offset += rotated.view.axes.back().size;
    if (other.kind == Kind::Rows && !other.view.axes.empty())
      rest = other.view.axes.back().size;
    expected.axes.back() = Axis::columns(rest, 1);
    if (other.kind != Kind::Rows || !(other.view == expected)) {
      conversion.note("the columns behind a rotated part must be the other ones of the same heads");
      return std::nullopt;
    }
  }
  return emitRotation(conversion, op, rotated, rest);
}

/// torch.aten.add.Tensor(cosine part, sine part, alpha)
static std::optional<Meaning> rotate(Conversion &conversion, Operation *op) {
  Meaning cosine = conversion.get(op->getOperand(0)), sine = conversion.get(op->getOperand(1));
  if (cosine.kind == Kind::TimesSine)
    std::swap(cosine, sine);
  if (cosine.kind != Kind::TimesCosine || sine.kind != Kind::TimesSine ||
      readNumber(op->getOperand(2)) != 1.0)
    return std::nullopt;
  if (!(cosine.view == sine.view) || cosine.weight != sine.weight || cosine.number != sine.number ||
      cosine.pairs != sine.pairs) {
    conversion.note("both parts of a rotation must have the same rows, frequencies and scale");
    return std::nullopt;
  }
  cosine.kind = Kind::PartRotated;
  return isJoined(op->getResult(0)) ? std::optional(cosine)
                                    : emitRotation(conversion, op, cosine, /*rest=*/0);
}

void mk::addRopeRules(Rules &rules) {
  rules.add("torch.aten.neg", 1, negate);
  rules.add("torch.aten.cat", 2, rotateHalves);
  rules.add("torch.aten.cat", 2, joinRotated);
  rules.add("torch.aten.stack", 2, rotatePairs);
  rules.add("torch.aten.mul.Tensor", 2, timesCosine);
  rules.add("torch.aten.mul.Tensor", 2, timesSine);
  rules.add("torch.aten.add.Tensor", 3, rotate);
}
