// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Parts of tensors: slices and splits look at some columns; a join with nothing is no join.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

static std::optional<Meaning> takePart(Meaning input, int64_t dim, int64_t first, int64_t size,
                                       int64_t step = 1) {
  Axis &axis = input.view.axes[dim];
  bool isNumbers = input.kind == Kind::Rows || input.kind == Kind::Flags ||
                   input.kind == Kind::Whole || input.kind == Kind::Table ||
                   input.kind == Kind::Literal;
  if (!isNumbers || axis.isRow() || input.view.evenFirst)
    return std::nullopt;
  input.view.offset += first * axis.stride;
  axis = Axis::columns(size, axis.stride * step);
  return input;
}

/// torch.aten.slice.Tensor(x, dim, start, end, step)
static std::optional<Meaning> slice(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  std::optional<int64_t> dim = readDimension(op->getOperand(1), input.view.axes.size());
  std::optional<int64_t> start = isNone(op->getOperand(2)) ? 0 : readInt(op->getOperand(2));
  std::optional<int64_t> end =
      isNone(op->getOperand(3)) ? ShapedType::kDynamic : readInt(op->getOperand(3));
  std::optional<int64_t> step = readInt(op->getOperand(4));
  if (!dim || !start || !end || !step || *step < 1)
    return std::nullopt;
  Axis axis = input.view.axes[*dim];
  bool isOpenEnded = isNone(op->getOperand(3)) || *end == std::numeric_limits<int64_t>::max();
  if (*start == 0 && isOpenEnded && *step == 1)
    return input;
  if (axis.isRow())
    return std::nullopt;
  auto clamp = [&](int64_t index) {
    return std::clamp<int64_t>(index < 0 ? index + axis.size : index, 0, axis.size);
  };
  int64_t first = clamp(*start);
  int64_t size = std::max<int64_t>((isOpenEnded ? axis.size : clamp(*end)) - first, 0);
  if (size == axis.size && *step == 1)
    return input;
  return takePart(input, *dim, first, llvm::divideCeil(size, *step), *step);
}

/// torch.aten.select.int(x, dim, index): one of the columns of an axis, without the axis
static std::optional<Meaning> select(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  std::optional<int64_t> dim = readDimension(op->getOperand(1), input.view.axes.size());
  std::optional<int64_t> index = readInt(op->getOperand(2));
  if (!dim || !index || !input.view.axes[*dim].isColumn())
    return std::nullopt;
  int64_t size = input.view.axes[*dim].size, first = *index < 0 ? *index + size : *index;
  if (first < 0 || first >= size)
    return std::nullopt;
  std::optional<Meaning> part = takePart(input, *dim, first, 1);
  if (part)
    part->view.axes.erase(part->view.axes.begin() + *dim);
  return part;
}

/// torch.prim.ListUnpack of chunk(x, count, dim), split.Tensor(x, size, dim) or
/// split_with_sizes(x, sizes, dim). The result types hold the sizes that torch made of them.
static std::optional<Meaning> split(Conversion &conversion, Operation *op) {
  Operation *list = op->getOperand(0).getDefiningOp();
  StringRef name = list ? list->getName().getStringRef() : "";
  bool isSplit = name == "torch.aten.chunk" || name == "torch.aten.split.Tensor" ||
                 name == "torch.aten.split_with_sizes";
  if (!isSplit || list->getNumOperands() != 3)
    return std::nullopt;
  Meaning input = conversion.get(list->getOperand(0));
  std::optional<int64_t> dim = readDimension(list->getOperand(2), input.view.axes.size());
  if (!dim)
    return std::nullopt;
  int64_t offset = 0;
  for (Value result : op->getResults()) {
    std::optional<TorchTensorType> type = parseTorchTensor(result.getType());
    if (!type || type->shape.size() != input.view.axes.size() ||
        ShapedType::isDynamic(type->shape[*dim]))
      return std::nullopt;
    std::optional<Meaning> part = takePart(input, *dim, offset, type->shape[*dim]);
    if (!part)
      return std::nullopt;
    conversion.set(result, *part);
    offset += type->shape[*dim];
  }
  if (offset != input.view.axes[*dim].size)
    return std::nullopt;
  return conversion.get(op->getResult(0));
}

/// torch.aten.cat(parts, dim) where all parts but one are empty, as when a rotation covers the
/// whole head.
static std::optional<Meaning> joinWithNothing(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> parts = readList(op->getOperand(0));
  if (!parts)
    return std::nullopt;
  llvm::erase_if(*parts, [](Value part) {
    std::optional<TorchTensorType> type = parseTorchTensor(part.getType());
    return type && llvm::is_contained(type->shape, 0);
  });
  if (parts->size() != 1 || conversion.get(parts->front()).kind == Kind::PartRotated)
    return std::nullopt;
  return conversion.get(parts->front());
}

void mk::addPartRules(Rules &rules) {
  rules.add("torch.aten.slice.Tensor", 5, slice);
  rules.add("torch.aten.select.int", 3, select);
  rules.add("torch.prim.ListUnpack", 1, split);
  rules.add("torch.aten.cat", 2, joinWithNothing);
}
