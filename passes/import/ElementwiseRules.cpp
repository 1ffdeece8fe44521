// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Arithmetic of single columns: of two tensors, of a tensor and a vector that applies to every row,
// of a tensor and a number, and functions of one tensor. Activations that models write out, such as
// x * sigmoid(1.702 x), need no rule of their own.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

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
  constexpr bool commutes = OpTy::template hasTrait<OpTrait::IsCommutative>();
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning x = conversion.get(op->getOperand(left)),
            vector = conversion.get(op->getOperand(right));
    if (!isRowsLike(x) || vector.kind != Kind::Vector || (left == 1 && !commutes))
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
                                           conversion.getWeight(vector, op->getLoc()));
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

/// What `make` makes of the rows.
static std::optional<Meaning> mapRows(Conversion &conversion, Operation *op,
                                      function_ref<Value(Value rows)> make) {
  Meaning x = conversion.get(op->getOperand(0));
  Value rows = isRowsLike(x) ? conversion.getRows(x, op->getLoc()) : Value();
  if (!rows)
    return std::nullopt;
  return conversion.makeRows(make(rows), x.view.axes, x.view.domain);
}

template <typename OpTy>
static std::optional<Meaning> apply(Conversion &conversion, Operation *op) {
  return mapRows(conversion, op, [&](Value rows) {
    return conversion.create<OpTy>(op->getLoc(), rows.getType(), rows);
  });
}

static std::optional<Meaning> silu(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  if (x.kind != Kind::Rows || !isRowsLike(x))
    return apply<SiluOp>(conversion, op);
  x.kind = Kind::Silu;
  return x;
}

/// torch.aten.gelu(x, approximate)
static std::optional<Meaning> gelu(Conversion &conversion, Operation *op) {
  std::optional<StringRef> form = readString(op->getOperand(1));
  if (form == "none")
    return apply<GeluOp>(conversion, op);
  return form == "tanh" ? apply<GeluTanhOp>(conversion, op) : std::nullopt;
}

/// x ** 3; the square is a piece of a norm.
static std::optional<Meaning> cube(Conversion &conversion, Operation *op) {
  if (readNumber(op->getOperand(1)) != 3.0)
    return std::nullopt;
  return mapRows(conversion, op, [&](Value x) {
    Value square = conversion.create<MulOp>(op->getLoc(), x.getType(), x, x);
    return conversion.create<MulOp>(op->getLoc(), x.getType(), square, x);
  });
}

static std::optional<Meaning> scaleBy(Conversion &conversion, Operation *op, double factor) {
  if (factor == 1) // configurable, and not used: whatever the tensor is
    return conversion.get(op->getOperand(0));
  return mapRows(conversion, op, [&](Value x) {
    return conversion.create<ScaleOp>(op->getLoc(), x.getType(), x, conversion.getF64(factor));
  });
}

static std::optional<Meaning> multiplyByNumber(Conversion &conversion, Operation *op) {
  std::optional<double> factor = readNumber(op->getOperand(1));
  return factor ? scaleBy(conversion, op, *factor) : std::nullopt;
}

/// A division is a product with the inverse, which may differ in the last bit.
static std::optional<Meaning> divideByNumber(Conversion &conversion, Operation *op) {
  std::optional<double> divisor = readNumber(op->getOperand(1));
  return divisor && *divisor != 0 ? scaleBy(conversion, op, 1 / *divisor) : std::nullopt;
}

/// x + number: of rows an op; of a vector of weights or of indices a part of their meaning.
static std::optional<Meaning> shiftBy(Conversion &conversion, Operation *op, double number) {
  Meaning x = conversion.get(op->getOperand(0));
  if (x.kind == Kind::Vector || x.kind == Kind::Indices) {
    if (x.number != 0)
      return std::nullopt;
    x.number = number;
    return x;
  }
  return mapRows(conversion, op, [&](Value rows) {
    return conversion.create<ShiftOp>(op->getLoc(), rows.getType(), rows,
                                      conversion.getF64(number));
  });
}

/// torch.aten.add.Scalar(x, number, alpha), or sub
template <int sign> static std::optional<Meaning> addNumber(Conversion &conversion, Operation *op) {
  std::optional<double> number = readNumber(op->getOperand(1));
  return number ? shiftBy(conversion, op, sign * *number) : std::nullopt;
}

/// torch.aten.rsub.Scalar(x, number, alpha): number - x
static std::optional<Meaning> subtractFromNumber(Conversion &conversion, Operation *op) {
  std::optional<double> number = readNumber(op->getOperand(1));
  if (!number)
    return std::nullopt;
  return mapRows(conversion, op, [&](Value x) {
    Value minus = conversion.create<ScaleOp>(op->getLoc(), x.getType(), x, conversion.getF64(-1));
    return conversion.create<ShiftOp>(op->getLoc(), x.getType(), minus, conversion.getF64(*number));
  });
}

void mk::addElementwiseRules(Rules &rules) {
  rules.add("torch.aten.mul.Tensor", 2, gate);
  rules.add("torch.aten.mul.Tensor", 2, combineRows<MulOp>);
  rules.add("torch.aten.mul.Tensor", 2, combineWithVector<MulOp>);
  rules.add("torch.aten.div.Tensor", 2, combineRows<DivOp>);
  rules.add("torch.aten.div.Tensor", 2, combineWithVector<DivOp>);
  rules.add("torch.aten.add.Tensor", 3, ifUnscaled<combineRows<AddOp>>);
  rules.add("torch.aten.add.Tensor", 3, ifUnscaled<combineWithVector<AddOp>>);
  rules.add("torch.aten.sub.Tensor", 3, ifUnscaled<combineRows<SubOp>>);
  rules.add("torch.aten.sub.Tensor", 3, ifUnscaled<combineWithVector<SubOp>>);
  rules.add("torch.aten.mul.Scalar", 2, multiplyByNumber);
  rules.add("torch.aten.div.Scalar", 2, divideByNumber);
  rules.add("torch.aten.add.Scalar", 3, ifUnscaled<addNumber<1>>);
  rules.add("torch.aten.sub.Scalar", 3, ifUnscaled<addNumber<-1>>);
  rules.add("torch.aten.rsub.Scalar", 3, ifUnscaled<subtractFromNumber>);
  rules.add("torch.aten.pow.Tensor_Scalar", 2, cube);
  rules.add("torch.aten.exp", 1, apply<ExpOp>);
  rules.add("torch.aten.tanh", 1, apply<TanhOp>);
  rules.add("torch.aten.sigmoid", 1, apply<SigmoidOp>);
  rules.add("torch.aten.relu", 1, apply<ReluOp>);
  rules.add("torch.aten.silu", 1, silu);
  rules.add("torch.aten.gelu", 2, gelu);
}
