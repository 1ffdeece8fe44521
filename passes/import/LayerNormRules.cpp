// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Layer normalization as one operator; and what it has beside a root mean square norm where it is
// written out: the mean, and what is left without it.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// x - mean(x)
static std::optional<Meaning> center(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0)), mean = conversion.get(op->getOperand(1));
  if (x.kind != Kind::Rows || mean.kind != Kind::Mean || readNumber(op->getOperand(2)) != 1.0)
    return std::nullopt;
  if (!(x.view == mean.view)) {
    conversion.note("the mean of a norm must be of the rows that it centers");
    return std::nullopt;
  }
  x.kind = Kind::Centered;
  return x;
}

/// torch.aten.layer_norm(x, normalized_shape, weight, bias, eps, cudnn_enable)
static std::optional<Meaning> wholeNorm(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  std::optional<SmallVector<int64_t>> shape = readIntList(op->getOperand(1));
  std::optional<double> epsilon = readNumber(op->getOperand(4));
  if (!isRowsLike(x) || !shape || shape->size() != 1 || !epsilon)
    return std::nullopt;
  if (countNeighbouringColumns(x.view.axes) != shape->front()) {
    conversion.note("a layer norm must run over all columns of a row");
    return std::nullopt;
  }
  Value vectors[2];
  for (auto [operand, vector] : llvm::zip_equal(op->getOperands().slice(2, 2), vectors)) {
    if (isNone(operand))
      continue;
    Meaning meaning = conversion.get(operand);
    if (meaning.kind != Kind::Vector || meaning.view.axes.size() != 1 ||
        meaning.view.axes[0].size != shape->front()) {
      conversion.note("the gain and the bias of a norm must be vectors of weights");
      return std::nullopt;
    }
    vector = conversion.getWeight(meaning, op->getLoc());
  }
  Value input = conversion.getPlainRows(x, op->getLoc());
  if (!input)
    return std::nullopt;
  Value result = conversion.create<LayerNormOp>(op->getLoc(), input.getType(), input, vectors[0],
                                                vectors[1], conversion.getF64(*epsilon));
  return conversion.makeRows(result, x.view.axes, x.view.domain);
}

void mk::addLayerNormRules(Rules &rules) {
  rules.add("torch.aten.sub.Tensor", 3, center);
  rules.add("torch.aten.layer_norm", 5, wholeNorm);
}
