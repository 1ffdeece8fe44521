// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The router of a mixture of experts, written out: probabilities of all experts of which the
// largest are kept, as they are or divided by their sum; or the probabilities of the largest logits
// alone.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

static std::optional<Meaning> piece(Kind kind, Meaning from) {
  from.kind = kind;
  return from;
}

static bool isLastAxis(const Meaning &x, Value dim) {
  int64_t rank = x.getAxes().size();
  return rank && readDimension(dim, rank) == rank - 1;
}

/// torch.aten.softmax.int(x, dim, dtype)
static std::optional<Meaning> softmax(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  if (x.kind != Kind::Rows && x.kind != Kind::TopLogits)
    return std::nullopt;
  if (!isLastAxis(x, op->getOperand(1))) {
    conversion.note("probabilities must be those of a row's columns");
    return std::nullopt;
  }
  if (x.kind == Kind::Rows)
    return piece(Kind::Probabilities, x);
  x.number = 1;
  x.normalized = true;
  return piece(Kind::RouteWeights, x);
}

/// torch.aten.topk(x, k, dim, largest, sorted) -> values, indices
static std::optional<Meaning> topk(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  std::optional<int64_t> chosen = readInt(op->getOperand(1));
  if ((x.kind != Kind::Rows && x.kind != Kind::Probabilities) || !chosen || *chosen < 1 ||
      op->getNumResults() != 2)
    return std::nullopt;
  if (!isLastAxis(x, op->getOperand(2)) || readBool(op->getOperand(3)) != true) {
    conversion.note("experts are chosen by the largest of a row's columns");
    return std::nullopt;
  }
  x.chosen = *chosen;
  x.number = 1;
  bool isProbability = x.kind == Kind::Probabilities;
  Meaning experts = *piece(Kind::TopExperts, x);
  experts.number = 0;
  conversion.set(op->getResult(1), experts);
  return piece(isProbability ? Kind::RouteWeights : Kind::TopLogits, x);
}

/// torch.aten.sum.dim_IntList(x, dims, keepdim, dtype)
static std::optional<Meaning> sum(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  std::optional<SmallVector<Value>> dims = readList(op->getOperand(1));
  if (x.kind != Kind::RouteWeights || !dims || dims->size() != 1 || !isLastAxis(x, dims->front()) ||
      readBool(op->getOperand(2)) != true)
    return std::nullopt;
  return piece(Kind::RouteSum, x);
}

/// weights / their sum
static std::optional<Meaning> divideBySum(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0)), total = conversion.get(op->getOperand(1));
  if (x.kind != Kind::RouteWeights || total.kind != Kind::RouteSum)
    return std::nullopt;
  if (!(piece(Kind::RouteWeights, total) == x)) {
    conversion.note("the weights of experts must be divided by their own sum");
    return std::nullopt;
  }
  x.number = 1;
  x.normalized = true;
  return x;
}

/// weights * number
static std::optional<Meaning> scale(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  std::optional<double> factor = readNumber(op->getOperand(1));
  if (x.kind != Kind::RouteWeights || !factor)
    return std::nullopt;
  x.number *= *factor;
  return x;
}

void mk::addRouteRules(Rules &rules) {
  rules.add("torch.aten.softmax.int", 3, softmax);
  rules.add("torch.aten.topk", 5, topk);
  rules.add("torch.aten.sum.dim_IntList", 4, sum);
  rules.add("torch.aten.div.Tensor", 2, divideBySum);
  rules.add("torch.aten.mul.Scalar", 2, scale);
}
