// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Root mean square normalization, written out or as one operator.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

static std::optional<Meaning> piece(Kind kind, Meaning from) {
  from.kind = kind;
  return from;
}

static std::optional<Meaning> squareOf(const Meaning &x) {
  if (x.kind != Kind::Centered && (x.kind != Kind::Rows || x.view.evenFirst))
    return std::nullopt;
  std::optional<Meaning> square = piece(Kind::Square, x);
  square->centered = x.kind == Kind::Centered;
  return square;
}

/// x ** 2
static std::optional<Meaning> power(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  return readNumber(op->getOperand(1)) == 2.0 ? squareOf(x) : std::nullopt;
}

/// torch.aten.square(x)
static std::optional<Meaning> wholeSquare(Conversion &conversion, Operation *op) {
  return squareOf(conversion.get(op->getOperand(0)));
}

/// x * x
static std::optional<Meaning> square(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  return x == conversion.get(op->getOperand(1)) ? squareOf(x) : std::nullopt;
}

/// torch.aten.mean.dim(x, dims, keepdim, dtype)
static std::optional<Meaning> mean(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  std::optional<SmallVector<Value>> dims = readList(op->getOperand(1));
  bool isMean = x.kind == Kind::Rows && !x.view.evenFirst;
  if ((x.kind != Kind::Square && !isMean) || !dims || dims->size() != 1 ||
      readBool(op->getOperand(2)) != true)
    return std::nullopt;
  int64_t rank = x.view.axes.size();
  if (readDimension(dims->front(), rank) != rank - 1 || !x.view.axes.back().isColumn()) {
    conversion.note("the mean of a norm must run over the columns of a row");
    return std::nullopt;
  }
  x.number = 0;
  return piece(isMean ? Kind::Mean : Kind::MeanSquare, x);
}

/// torch.aten.add.Scalar(mean, eps, alpha)
static std::optional<Meaning> addEpsilon(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  std::optional<double> epsilon = readNumber(op->getOperand(1));
  if (x.kind != Kind::MeanSquare || x.number != 0 || !epsilon ||
      readNumber(op->getOperand(2)) != 1.0)
    return std::nullopt;
  x.number = *epsilon;
  return x;
}

static std::optional<Meaning> inverseRoot(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  return x.kind == Kind::MeanSquare ? piece(Kind::InverseRms, x) : std::nullopt;
}

/// x * (1 / rms(x))
static std::optional<Meaning> scaleRows(Conversion &conversion, Operation *op) {
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning x = conversion.get(op->getOperand(left)), rms = conversion.get(op->getOperand(right));
    if (x.kind != (rms.centered ? Kind::Centered : Kind::Rows) || rms.kind != Kind::InverseRms)
      continue;
    if (x.view == rms.view)
      return piece(Kind::Normalized, rms);
    conversion.note("the root mean square of a norm must be of the rows that it scales");
  }
  return std::nullopt;
}

/// A norm over the last of several column axes: each head for itself, whatever the order of the
/// others.
static std::optional<Meaning> normalizeHeads(Conversion &conversion, Operation *op,
                                             const Meaning &rows, const Meaning &gain,
                                             double epsilon) {
  const Axis &head = rows.view.axes.back();
  if (!(head == Axis::columns(head.size, 1)) || head.size % 2 != 0) {
    conversion.note("the norm of a head must run over an even number of neighbouring columns");
    return std::nullopt;
  }
  Value input = conversion.getRows(rows, op->getLoc());
  if (!input)
    return std::nullopt;
  Value result = conversion.create<HeadNormOp>(
      op->getLoc(), input.getType(), input, conversion.getWeight(gain, op->getLoc()),
      conversion.getI64(head.size), conversion.getF64(epsilon));
  return conversion.makeRows(result, rows.view.axes, rows.view.domain);
}

/// The norm of the rows seen, about their mean if `centered`, times a gain unless that is refused.
static std::optional<Meaning> normalize(Conversion &conversion, Operation *op, const RowView &view,
                                        bool centered, const Meaning &gain, double epsilon) {
  Meaning rows = conversion.makeRows(view.value, view.axes, view.domain);
  rows.view = view;
  bool hasGain = gain.kind == Kind::Vector;
  if (countNeighbouringColumns(view.axes) != view.axes.back().size) {
    if (!centered && hasGain)
      return normalizeHeads(conversion, op, rows, gain, epsilon);
    conversion.note("the norm of a head must be a root mean square norm with a gain");
    return std::nullopt;
  }
  Value input = conversion.getPlainRows(rows, op->getLoc());
  if (!input)
    return std::nullopt;
  Value factor = hasGain ? conversion.getWeight(gain, op->getLoc()) : Value();
  Value result = centered
                     ? conversion.create<LayerNormOp>(op->getLoc(), input.getType(), input, factor,
                                                      Value(), conversion.getF64(epsilon))
                     : conversion.create<RmsNormOp>(op->getLoc(), input.getType(), input, factor,
                                                    conversion.getF64(epsilon));
  return conversion.makeRows(result, view.axes, view.domain);
}

/// True for a whole parameter of one dimension that broadcasts along the last axis of `axes`.
static bool isGainOf(const Meaning &gain, ArrayRef<Axis> axes) {
  return gain.kind == Kind::Vector && gain.view.axes.size() == 1 &&
         gain.view.axes[0].size == axes.back().size;
}

/// Normalized rows * gain
static std::optional<Meaning> applyGain(Conversion &conversion, Operation *op) {
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning x = conversion.get(op->getOperand(left)), gain = conversion.get(op->getOperand(right));
    if (x.kind == Kind::Normalized && isGainOf(gain, x.view.axes))
      return normalize(conversion, op, x.view, x.centered, gain, x.number);
  }
  return std::nullopt;
}

/// torch.aten.rms_norm(x, normalized_shape, weight, eps)
static std::optional<Meaning> wholeNorm(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0)), gain = conversion.get(op->getOperand(2));
  std::optional<SmallVector<int64_t>> shape = readIntList(op->getOperand(1));
  std::optional<double> epsilon = readNumber(op->getOperand(3));
  if (x.kind != Kind::Rows || !shape || shape->size() != 1 || !epsilon ||
      shape->front() != x.view.axes.back().size ||
      !(isGainOf(gain, x.view.axes) || isNone(op->getOperand(2))))
    return std::nullopt;
  return normalize(conversion, op, x.view, /*centered=*/false, gain, *epsilon);
}

void mk::addNormRules(Rules &rules) {
  rules.add("torch.aten.pow.Tensor_Scalar", 2, power);
  rules.add("torch.aten.square", 1, wholeSquare);
  rules.add("torch.aten.mul.Tensor", 2, square);
  rules.add("torch.aten.mean.dim", 3, mean);
  rules.add("torch.aten.add.Scalar", 3, addEpsilon);
  rules.add("torch.aten.rsqrt", 1, inverseRoot);
  rules.add("torch.aten.mul.Tensor", 2, scaleRows);
  rules.add("torch.aten.mul.Tensor", 2, applyGain);
  rules.add("torch.aten.rms_norm", 4, wholeNorm);
}
