// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/analysis/SameValue.h"

using namespace mlir;
using namespace mlir::mk_task;

/// What a family yields to the buffer.
static Value findValue(FamilyOp family, KindOp kind, StringRef buffer) {
  for (auto [value, name] : llvm::zip_equal(kind.getYield()->getOperands(), family.getOutputs()))
    if (cast<FlatSymbolRefAttr>(name).getValue() == buffer)
      return value;
  return {};
}

/// The memory that a value of the kind's body is in; null: none.
static Attribute findMemory(FamilyOp family, KindOp kind, Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value))
    return argument.getOwner() == &kind.getBody().front()
               ? family.getOperands()[argument.getArgNumber()]
               : Attribute();
  for (auto [yielded, name] : llvm::zip_equal(kind.getYield()->getOperands(), family.getOutputs()))
    if (yielded == value)
      return name;
  return {};
}

bool mk_task::computeSame(FamilyOp first, KindOp firstKind, FamilyOp second, KindOp secondKind,
                          StringRef buffer) {
  Value value = findValue(first, firstKind, buffer), other = findValue(second, secondKind, buffer);
  Operation *a = value ? value.getDefiningOp() : nullptr,
            *b = other ? other.getDefiningOp() : nullptr;
  if (!a || !b || a->getName() != b->getName() || a->getNumRegions() || b->getNumRegions() ||
      a->getAttrDictionary() != b->getAttrDictionary() ||
      a->getNumOperands() != b->getNumOperands() || a->getNumResults() != 1)
    return false;
  return llvm::all_of(llvm::zip_equal(a->getOperands(), b->getOperands()), [&](auto operands) {
    Attribute memory = findMemory(first, firstKind, std::get<0>(operands));
    return memory && memory == findMemory(second, secondKind, std::get<1>(operands));
  });
}
