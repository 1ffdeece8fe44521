// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Operators that only look at the same numbers differently: they change axes and need no mk op.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// Kinds whose tensor has the axes of its view, so that the axes may change.
static bool mayChangeAxes(Kind kind) {
  switch (kind) {
  case Kind::Rows:
  case Kind::Indices:
  case Kind::Vector:
  case Kind::Positions:
  case Kind::Square:
  case Kind::Silu:
  case Kind::RotatedPairs:
  case Kind::Angles:
  case Kind::Cosine:
  case Kind::Sine:
  case Kind::Flags:
  case Kind::Whole:
  case Kind::Table:
  case Kind::Literal:
    return true;
  default:
    return false;
  }
}

static std::optional<Meaning> withAxes(Meaning meaning, std::optional<Axes> axes) {
  if (!axes || !mayChangeAxes(meaning.kind))
    return std::nullopt;
  if (meaning.view.evenFirst && (axes->empty() || !(axes->back() == meaning.view.axes.back())))
    return std::nullopt;
  meaning.view.axes = std::move(*axes);
  return meaning;
}

static std::optional<Meaning> unsqueeze(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  Axes axes = input.view.axes;
  std::optional<int64_t> dim = readDimension(op->getOperand(1), axes.size() + 1);
  if (!dim)
    return std::nullopt;
  axes.insert(axes.begin() + *dim, Axis::unit());
  return withAxes(input, axes);
}

static std::optional<Meaning> squeeze(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  Axes axes = input.view.axes;
  std::optional<int64_t> dim = readDimension(op->getOperand(1), axes.size());
  if (!dim || !axes[*dim].isUnit())
    return std::nullopt;
  axes.erase(axes.begin() + *dim);
  return withAxes(input, axes);
}

static std::optional<Meaning> transposeMatrix(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  if (input.kind != Kind::Matrix)
    return std::nullopt;
  if (op->getNumOperands() == 3) {
    std::optional<int64_t> a = readDimension(op->getOperand(1), 2);
    std::optional<int64_t> b = readDimension(op->getOperand(2), 2);
    if (!a || !b || *a == *b)
      return std::nullopt;
  }
  input.transposed = !input.transposed;
  return input;
}

static std::optional<Meaning> transpose(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  Axes axes = input.view.axes;
  std::optional<int64_t> a = readDimension(op->getOperand(1), axes.size());
  std::optional<int64_t> b = readDimension(op->getOperand(2), axes.size());
  if (!a || !b)
    return std::nullopt;
  std::swap(axes[*a], axes[*b]);
  return withAxes(input, axes);
}

static std::optional<Meaning> permute(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  std::optional<SmallVector<Value>> order = readList(op->getOperand(1));
  if (!order || order->size() != input.view.axes.size())
    return std::nullopt;
  Axes axes;
  for (Value element : *order) {
    std::optional<int64_t> dim = readDimension(element, order->size());
    if (!dim)
      return std::nullopt;
    axes.push_back(input.view.axes[*dim]);
  }
  return withAxes(input, axes);
}

/// The result type alone decides: its sizes are what torch made of the size operands.
static std::optional<Meaning> reshape(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  if (!type)
    return std::nullopt;
  std::optional<Axes> axes = reshapeAxes(input.view.axes, type->shape);
  if (!axes)
    conversion.note("the new shape must keep the rows whole");
  return withAxes(input, axes);
}

static std::optional<Meaning> identity(Conversion &conversion, Operation *op) {
  return conversion.get(op->getOperand(0));
}

/// Sizes that stay as they were.
static std::optional<Meaning> expand(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  if (!type)
    return std::nullopt;
  Axes axes = padAxes(input.view.axes, type->shape.size());
  bool isSame = llvm::all_of(llvm::zip_equal(axes, type->shape),
                             [](auto pair) { return std::get<0>(pair).size == std::get<1>(pair); });
  return isSame ? withAxes(input, axes) : std::nullopt;
}

/// torch.aten.select.int(x, dim, index)
static std::optional<Meaning> select(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  Axes axes = input.view.axes;
  std::optional<int64_t> dim = readDimension(op->getOperand(1), axes.size());
  if (!dim || !axes[*dim].isUnit() || readInt(op->getOperand(2)) != 0)
    return std::nullopt;
  axes.erase(axes.begin() + *dim);
  return withAxes(input, axes);
}

void mk::addViewRules(Rules &rules) {
  rules.add("torch.aten.unsqueeze", 2, unsqueeze);
  rules.add("torch.aten.squeeze.dim", 2, squeeze);
  rules.add("torch.aten.transpose.int", 3, transposeMatrix);
  rules.add("torch.aten.t", 1, transposeMatrix);
  rules.add("torch.aten.transpose.int", 3, transpose);
  rules.add("torch.aten.permute", 2, permute);
  for (StringRef name : {"torch.aten.view", "torch.aten.reshape", "torch.aten._unsafe_view",
                         "torch.aten.flatten.using_ints", "torch.aten.unflatten.int"})
    rules.add(name, 1, reshape);
  for (StringRef name :
       {"torch.aten.contiguous", "torch.aten.clone", "torch.aten.detach", "torch.aten.alias"})
    rules.add(name, 1, identity);
  rules.add("torch.aten.expand", 1, expand);
  rules.add("torch.aten.expand_as", 1, expand);
  rules.add("torch.aten.select.int", 3, select);
}
