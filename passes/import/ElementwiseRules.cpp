// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Sums, products and activations of whole rows, and vectors that apply to every row.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

static bool isRowsLike(const Meaning &x) {
  return x.kind == Kind::Rows || x.kind == Kind::Silu || x.kind == Kind::Square;
}

/// Two operands that show rows in the same way, up to units in front.
static bool haveSameAxes(const Meaning &a, const Meaning &b) {
  size_t rank = std::max(a.view.axes.size(), b.view.axes.size());
  return isRowsLike(a) && isRowsLike(b) && a.view.domain == b.view.domain &&
         padAxes(a.view.axes, rank) == padAxes(b.view.axes, rank);
}

static Axes longerAxes(const Meaning &a, const Meaning &b) {
  return padAxes(a.view.axes, std::max(a.view.axes.size(), b.view.axes.size()));
}

/// silu(gate) * up
static std::optional<Meaning> gate(Conversion &conversion, Operation *op) {
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning gate = conversion.get(op->getOperand(left)), up = conversion.get(op->getOperand(right));
    if (gate.kind != Kind::Silu || !haveSameAxes(gate, up))
      continue;
    gate.kind = Kind::Rows;
    Value gateRows = conversion.getRows(gate, op->getLoc());
    Value upRows = conversion.getRows(up, op->getLoc());
    if (!gateRows || !upRows)
      return std::nullopt;
    Value result = conversion.create<GluOp>(op->getLoc(), gateRows.getType(), gateRows, upRows);
    return conversion.makeRows(result, longerAxes(gate, up), gate.view.domain);
  }
  return std::nullopt;
}

template <typename OpTy>
static std::optional<Meaning> combineRows(Conversion &conversion, Operation *op) {
  Meaning a = conversion.get(op->getOperand(0)), b = conversion.get(op->getOperand(1));
  if (!haveSameAxes(a, b)) {
    if (isRowsLike(a) && isRowsLike(b))
      conversion.note("both operands must show their rows in the same way");
    return std::nullopt;
  }
  Value lhs = conversion.getRows(a, op->getLoc()), rhs = conversion.getRows(b, op->getLoc());
  if (!lhs || !rhs)
    return std::nullopt;
  Value result = conversion.create<OpTy>(op->getLoc(), lhs.getType(), lhs, rhs);
  return conversion.makeRows(result, longerAxes(a, b), a.view.domain);
}

template <typename OpTy>
static std::optional<Meaning> combineWithVector(Conversion &conversion, Operation *op) {
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning x = conversion.get(op->getOperand(left)),
            vector = conversion.get(op->getOperand(right));
    if (!isRowsLike(x) || vector.kind != Kind::Vector)
      continue;
    if (vector.view.axes.size() != 1 || x.view.axes.empty() ||
        vector.view.axes[0].size != x.view.axes.back().size ||
        countNeighbouringColumns(x.view.axes) != x.view.axes.back().size) {
      conversion.note("a vector must have as many elements as a row has columns");
      return std::nullopt;
    }
    Value rows = conversion.getRows(x, op->getLoc());
    if (!rows)
      return std::nullopt;
    Value result = conversion.create<OpTy>(op->getLoc(), rows.getType(), rows,
                                           conversion.getWeight(vector.weight, op->getLoc()));
    return conversion.makeRows(result, x.view.axes, x.view.domain);
  }
  return std::nullopt;
}

/// torch.aten.add.Tensor(a, b, alpha)
template <Rule rule>
static std::optional<Meaning> ifUnscaled(Conversion &conversion, Operation *op) {
  if (readNumber(op->getOperand(2)) == 1.0)
    return rule(conversion, op);
  conversion.note("a sum must have alpha 1");
  return std::nullopt;
}

static std::optional<Meaning> silu(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  if (x.kind != Kind::Rows)
    return std::nullopt;
  x.kind = Kind::Silu;
  return x;
}

/// Tensors times one: a configurable factor that the model does not use.
static std::optional<Meaning> multiplyByOne(Conversion &conversion, Operation *op) {
  std::optional<double> factor = readNumber(op->getOperand(1));
  if (factor == 1.0)
    return conversion.get(op->getOperand(0));
  if (factor)
    conversion.note("multiplication by the scalar " + Twine(std::to_string(*factor)));
  return std::nullopt;
}

void mk::addElementwiseRules(Rules &rules) {
  rules.add("torch.aten.mul.Tensor", 2, gate);
  rules.add("torch.aten.mul.Tensor", 2, combineRows<MulOp>);
  rules.add("torch.aten.mul.Tensor", 2, combineWithVector<MulOp>);
  rules.add("torch.aten.add.Tensor", 3, ifUnscaled<combineRows<AddOp>>);
  rules.add("torch.aten.add.Tensor", 3, ifUnscaled<combineWithVector<AddOp>>);
  rules.add("torch.aten.silu", 1, silu);
  rules.add("torch.aten.mul.Scalar", 2, multiplyByOne);
}
