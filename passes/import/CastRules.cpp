// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Casts. Every mk op computes in float32, so a cast between floating-point types needs no op.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// The result type says what the cast does, however it was written.
static std::optional<Meaning> convertType(Conversion &conversion, Operation *op) {
  Meaning input = conversion.get(op->getOperand(0));
  std::optional<TorchTensorType> from = parseTorchTensor(op->getOperand(0).getType());
  std::optional<TorchTensorType> to = parseTorchTensor(op->getResult(0).getType());
  if (!from || !to)
    return std::nullopt;
  if (from->elementType == to->elementType || (from->isFloatingPoint() && to->isFloatingPoint()))
    return input;
  // Positions stay below 2^24, where float32 is exact.
  bool isPositions = input.kind == Kind::Indices &&
                     input.view.value == conversion.getInput("positions") && input.number == 0;
  if (!isPositions || to->elementType != "f32")
    return std::nullopt;
  input.kind = Kind::Positions;
  return input;
}

void mk::addCastRules(Rules &rules) {
  for (StringRef name :
       {"torch.aten.to.dtype", "torch.aten.to.dtype_layout", "torch.aten.to.device",
        "torch.aten.to.other", "torch.aten._to_copy", "torch.aten.type_as"})
    rules.add(name, 1, convertType);
}
