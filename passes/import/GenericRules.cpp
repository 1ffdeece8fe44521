// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The last rules of each operator. First the rules of patterns are asked again, with the operands
// as the numbers that they are; what these do not take either is written as a mk.generic.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

static const Rules *patternRules = nullptr;

/// The tensors that an operator reads, in lists and through the operator that splits them too.
static void collectTensors(Operation *op, SmallVectorImpl<Value> &tensors) {
  for (Value operand : op->getOperands()) {
    if (parseTorchTensor(operand.getType()))
      tensors.push_back(operand);
    else if (Operation *list = operand.getDefiningOp())
      if (readList(operand) || op->getName().getStringRef() == "torch.prim.ListUnpack")
        collectTensors(list, tensors);
  }
}

/// The rules of patterns once more, every operand as `change` makes it while they look.
static std::optional<Meaning> retry(Conversion &conversion, Operation *op,
                                    function_ref<std::optional<Meaning>(const Meaning &)> change) {
  SmallVector<Value> tensors;
  collectTensors(op, tensors);
  SmallVector<std::pair<Value, Meaning>, 4> before;
  std::optional<Meaning> result;
  bool isOther = false, isKnown = true;
  for (Value tensor : tensors) {
    Meaning meaning = conversion.get(tensor);
    before.push_back({tensor, meaning});
    if (std::optional<Meaning> changed = change(meaning)) {
      isOther |= !(*changed == meaning);
      conversion.set(tensor, *changed);
    } else {
      isKnown = false;
    }
  }
  if (isOther && isKnown)
    result = patternRules->apply(getTorchName(op), conversion, op);
  for (auto &[tensor, meaning] : before)
    conversion.set(tensor, meaning);
  return result;
}

/// A piece of a pattern, or a parameter, may be looked at differently as the numbers that it is.
static std::optional<Meaning> asNumbers(Conversion &conversion, Operation *op) {
  return retry(conversion, op,
               [&](const Meaning &meaning) { return realize(conversion, meaning, op->getLoc()); });
}

/// Parameters and inputs stay what they are, all else becomes whole rows of columns in order.
static std::optional<Meaning> asPlainRows(Conversion &conversion, Operation *op) {
  return retry(conversion, op, [&](const Meaning &meaning) -> std::optional<Meaning> {
    switch (meaning.kind) {
    case Kind::Refused: // no tensor of the model
    case Kind::Indices:
    case Kind::Vector:
    case Kind::Matrix:
    case Kind::Experts:
    case Kind::TopExperts:
    case Kind::RouteWeights:
      return meaning;
    case Kind::Rows:
      if (isRowMajor(meaning.view.axes) && countNeighbouringColumns(meaning.view.axes) &&
          !meaning.view.evenFirst)
        return meaning;
      return copyPlain(conversion, meaning, op->getLoc());
    default:
      return copyPlain(conversion, meaning, op->getLoc());
    }
  });
}

void mk::addGenericRules(Rules &rules) {
  static const Rules patterns = rules;
  patternRules = &patterns;
  for (StringRef name :
       {"torch.aten.unsqueeze", "torch.aten.squeeze.dim", "torch.aten.transpose.int",
        "torch.aten.t", "torch.aten.permute", "torch.aten.view", "torch.aten.reshape",
        "torch.aten._unsafe_view", "torch.aten.flatten.using_ints", "torch.aten.unflatten.int",
        "torch.aten.expand", "torch.aten.select.int", "torch.aten.slice.Tensor",
        "torch.prim.ListUnpack"})
    rules.add(name, 1, asNumbers);
  for (StringRef name : {"torch.aten.linear", "torch.aten.mm", "torch.aten.matmul",
                         "torch.aten.addmm", "torch.aten.index.Tensor", "torch.mk.attention"})
    rules.add(name, 1, asPlainRows);
  addGenericViewRules(rules);
  addGenericJoinRules(rules);
  addGenericElementwiseRules(rules);
  addGenericActivationRules(rules);
  addGenericReductionRules(rules);
  addGenericNormRules(rules);
  addGenericProductRules(rules);
  addGenericRankRules(rules);
  addGenericPlaceRules(rules);
  addGenericRoundingRules(rules);
}
