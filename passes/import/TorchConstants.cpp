// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Reads the constants and lists that torch operators take as operands.

#include "passes/import/TorchConstants.h"
#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;
using namespace mlir::mk;

static Operation *definedBy(Value value, StringRef name) {
  Operation *op = value.getDefiningOp();
  return op && op->getName().getStringRef() == name ? op : nullptr;
}

std::optional<int64_t> mk::readInt(Value value) {
  Operation *op = definedBy(value, "torch.constant.int");
  auto attr = op ? op->getAttrOfType<IntegerAttr>("value") : IntegerAttr();
  return attr ? std::optional(attr.getValue().getSExtValue()) : std::nullopt;
}

std::optional<bool> mk::readBool(Value value) {
  Operation *op = definedBy(value, "torch.constant.bool");
  auto attr = op ? op->getAttrOfType<BoolAttr>("value") : BoolAttr();
  return attr ? std::optional(attr.getValue()) : std::nullopt;
}

std::optional<StringRef> mk::readString(Value value) {
  Operation *op = definedBy(value, "torch.constant.str");
  auto attr = op ? op->getAttrOfType<StringAttr>("value") : StringAttr();
  return attr ? std::optional(attr.getValue()) : std::nullopt;
}

std::optional<double> mk::readNumber(Value value) {
  if (std::optional<int64_t> number = readInt(value))
    return double(*number);
  Operation *op = definedBy(value, "torch.constant.float");
  auto attr = op ? op->getAttrOfType<FloatAttr>("value") : FloatAttr();
  return attr ? std::optional(attr.getValueAsDouble()) : std::nullopt;
}

bool mk::isNone(Value value) { return definedBy(value, "torch.constant.none"); }

std::optional<SmallVector<Value>> mk::readList(Value value) {
  Operation *op = definedBy(value, "torch.prim.ListConstruct");
  return op ? std::optional(llvm::to_vector(op->getOperands())) : std::nullopt;
}

std::optional<SmallVector<int64_t>> mk::readIntList(Value value) {
  std::optional<SmallVector<Value>> list = readList(value);
  if (!list)
    return std::nullopt;
  SmallVector<int64_t> numbers;
  for (Value element : *list) {
    std::optional<int64_t> number = readInt(element);
    if (!number)
      return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

std::optional<int64_t> mk::readDimension(Value value, int64_t rank) {
  std::optional<int64_t> number = readInt(value);
  if (!number || *number < -rank || *number >= rank)
    return std::nullopt;
  return *number < 0 ? *number + rank : *number;
}
