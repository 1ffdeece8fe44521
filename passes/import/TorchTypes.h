// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_IMPORT_TORCHTYPES_H
#define MK_PASSES_IMPORT_TORCHTYPES_H

#include "mlir/IR/BuiltinTypes.h"
#include <optional>

namespace mlir::mk {

/// What `!torch.vtensor<[1,?,64],f32>` says; `?` is ShapedType::kDynamic.
struct TorchTensorType {
  SmallVector<int64_t> shape;
  std::string elementType;

  bool isFloatingPoint() const {
    return elementType == "f32" || elementType == "bf16" || elementType == "f16";
  }
};

/// True for every type of the torch dialect, which is not registered here.
bool isTorchType(Type type);

/// Nothing if the type is not a torch tensor of known rank and element type.
std::optional<TorchTensorType> parseTorchTensor(Type type);

/// The type as error messages show it: `[1,?,64] f32`.
std::string describeTorchType(Type type);

} // namespace mlir::mk

#endif // MK_PASSES_IMPORT_TORCHTYPES_H
