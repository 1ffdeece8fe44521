// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Products of rows and weights, with or without a bias.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// The product of rows with the rows of `weight`, plus a bias unless that is none.
static std::optional<Meaning> multiply(Conversion &conversion, Operation *op, const Meaning &x,
                                       const Meaning &weight, Value biasOperand) {
  Meaning bias = conversion.get(biasOperand);
  bool hasBias = biasOperand && !isNone(biasOperand);
  if (weight.kind != Kind::Matrix || (hasBias && bias.kind != Kind::Vector)) {
    conversion.note("the weight and the bias must be parameters");
    return std::nullopt;
  }
  auto [outer, inner] = conversion.getMatrixShape(weight);
  // A matrix multiplies the last dimension, which must therefore be the whole row.
  if (x.view.axes.empty() || !(x.view.axes.back() == Axis::columns(inner, 1)) ||
      countNeighbouringColumns(x.view.axes) != inner) {
    conversion.note("the operand must be rows of " + Twine(inner) + " columns");
    return std::nullopt;
  }
  if (hasBias && conversion.getWeightShape(bias.weight) != ArrayRef<int64_t>(outer)) {
    conversion.note("the bias must have " + Twine(outer) + " elements");
    return std::nullopt;
  }
  Value input = conversion.getPlainRows(x, op->getLoc());
  if (!input)
    return std::nullopt;
  Type type = conversion.getRowsType(outer);
  Value result = conversion.create<LinearOp>(
      op->getLoc(), TypeRange(type), input, ValueRange(conversion.getWeight(weight, op->getLoc())));
  if (hasBias)
    result = conversion.create<AddOp>(op->getLoc(), type, result,
                                      conversion.getWeight(bias, op->getLoc()));
  Axes axes = x.view.axes;
  axes.back() = Axis::columns(outer, 1);
  return conversion.makeRows(result, axes, x.view.domain);
}

/// torch.aten.linear(x, weight, bias)
static std::optional<Meaning> linear(Conversion &conversion, Operation *op) {
  return multiply(conversion, op, conversion.get(op->getOperand(0)),
                  conversion.get(op->getOperand(1)), op->getOperand(2));
}

/// Where the columns of the weight meet the rows.
static Meaning transposed(Meaning weight) {
  weight.transposed = !weight.transposed;
  return weight;
}

/// torch.aten.mm(x, weight)
static std::optional<Meaning> matrixProduct(Conversion &conversion, Operation *op) {
  Meaning weight = conversion.get(op->getOperand(1));
  if (weight.kind != Kind::Matrix)
    return std::nullopt;
  return multiply(conversion, op, conversion.get(op->getOperand(0)), transposed(weight), Value());
}

/// torch.aten.addmm(bias, x, weight, beta, alpha)
static std::optional<Meaning> productWithBias(Conversion &conversion, Operation *op) {
  if (readNumber(op->getOperand(3)) != 1.0 || readNumber(op->getOperand(4)) != 1.0)
    return std::nullopt;
  return multiply(conversion, op, conversion.get(op->getOperand(1)),
                  transposed(conversion.get(op->getOperand(2))), op->getOperand(0));
}

void mk::addLinearRules(Rules &rules) {
  rules.add("torch.aten.linear", 3, linear);
  for (StringRef name : {"torch.aten.mm", "torch.aten.matmul"})
    rules.add(name, 2, matrixProduct);
  rules.add("torch.aten.addmm", 5, productWithBias);
}
