// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_IMPORT_TORCHCONSTANTS_H
#define MK_PASSES_IMPORT_TORCHCONSTANTS_H

#include "mlir/IR/Operation.h"
#include <optional>

namespace mlir::mk {

/// The value of a `torch.constant.*`; nothing if the operand is computed or of another kind.
std::optional<int64_t> readInt(Value value);
std::optional<bool> readBool(Value value);
/// An integer constant counts too: Python writes `x ** 2` for `x ** 2.0`.
std::optional<double> readNumber(Value value);
std::optional<StringRef> readString(Value value);
bool isNone(Value value);

/// The elements of a `torch.prim.ListConstruct`; nothing if the list comes from elsewhere.
std::optional<SmallVector<Value>> readList(Value value);
std::optional<SmallVector<int64_t>> readIntList(Value value);

/// A dimension number, counted from the end if negative; nothing if it is out of range.
std::optional<int64_t> readDimension(Value value, int64_t rank);

} // namespace mlir::mk

#endif // MK_PASSES_IMPORT_TORCHCONSTANTS_H
