// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// torch.aten.linear(x, weight, bias)

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

static std::optional<Meaning> linear(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0)), weight = conversion.get(op->getOperand(1));
  Meaning bias = conversion.get(op->getOperand(2));
  bool hasBias = !isNone(op->getOperand(2));
  if (weight.kind != Kind::Matrix || (hasBias && bias.kind != Kind::Vector)) {
    conversion.note("the weight and the bias must be parameters");
    return std::nullopt;
  }
  ArrayRef<int64_t> shape = conversion.getWeightShape(weight.weight);
  // A matrix multiplies the last dimension, which must therefore be the whole row.
  if (x.view.axes.empty() || !(x.view.axes.back() == Axis::columns(shape[1], 1)) ||
      countNeighbouringColumns(x.view.axes) != shape[1]) {
    conversion.note("the operand must be rows of " + Twine(shape[1]) + " columns");
    return std::nullopt;
  }
  if (hasBias && conversion.getWeightShape(bias.weight) != shape.take_front()) {
    conversion.note("the bias must have " + Twine(shape[0]) + " elements");
    return std::nullopt;
  }
  Value input = conversion.getPlainRows(x, op->getLoc());
  if (!input)
    return std::nullopt;
  Type type = conversion.getRowsType(shape[0]);
  Value result =
      conversion.create<LinearOp>(op->getLoc(), TypeRange(type), input,
                                  ValueRange(conversion.getWeight(weight.weight, op->getLoc())));
  if (hasBias)
    result = conversion.create<AddOp>(op->getLoc(), type, result,
                                      conversion.getWeight(bias.weight, op->getLoc()));
  Axes axes = x.view.axes;
  axes.back() = Axis::columns(shape[0], 1);
  return conversion.makeRows(result, axes, x.view.domain);
}

void mk::addLinearRules(Rules &rules) { rules.add("torch.aten.linear", 3, linear); }
