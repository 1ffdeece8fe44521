// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Reads the types of the torch dialect, which reach this compiler as opaque text.

#include "passes/import/TorchTypes.h"

using namespace mlir;
using namespace mlir::mk;

bool mk::isTorchType(Type type) {
  auto opaque = dyn_cast<OpaqueType>(type);
  return opaque && opaque.getDialectNamespace().getValue() == "torch";
}

std::optional<TorchTensorType> mk::parseTorchTensor(Type type) {
  if (!isTorchType(type))
    return std::nullopt;
  StringRef text = cast<OpaqueType>(type).getTypeData();
  if (!text.consume_front("vtensor<[") || !text.consume_back(">"))
    return std::nullopt;
  auto [sizes, elementType] = text.split("],");
  if (elementType.empty())
    return std::nullopt;
  TorchTensorType result;
  result.elementType = elementType.str();
  while (!sizes.empty()) {
    StringRef size;
    std::tie(size, sizes) = sizes.split(',');
    int64_t number = ShapedType::kDynamic;
    if (size != "?" && (size.getAsInteger(10, number) || number < 0))
      return std::nullopt;
    result.shape.push_back(number);
  }
  return result;
}

std::string mk::describeTorchType(Type type) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (!isTorchType(type)) {
    stream << type;
    return text;
  }
  StringRef data = cast<OpaqueType>(type).getTypeData();
  if (!parseTorchTensor(type))
    return data.str();
  auto [shape, elementType] = data.drop_front(strlen("vtensor<")).drop_back().split("],");
  stream << shape << "] " << elementType;
  return text;
}
