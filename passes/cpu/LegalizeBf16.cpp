// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace mlir::mk {
#define GEN_PASS_DEF_LEGALIZEBF16
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

/// The same type with 16-bit integers in place of bfloat16; null if there is none.
static Type withIntegers(Type type) {
  Type integer = IntegerType::get(type.getContext(), 16);
  if (type.isBF16())
    return integer;
  auto vector = dyn_cast<VectorType>(type);
  return vector && vector.getElementType().isBF16() ? vector.clone(integer) : Type();
}

namespace {
struct LegalizeBf16 : mk::impl::LegalizeBf16Base<LegalizeBf16> {
  void runOnOperation() override {
    getOperation().walk([](Operation *op) {
      OpBuilder b(op);
      auto cast = [&](unsigned operand) {
        Value value = op->getOperand(operand);
        if (Type type = withIntegers(value.getType()))
          op->setOperand(operand, b.create<LLVM::BitcastOp>(op->getLoc(), type, value));
      };
      if (isa<LLVM::StoreOp, LLVM::MaskedStoreOp>(op))
        return cast(0);
      auto masked = dyn_cast<LLVM::MaskedLoadOp>(op);
      if (!masked && !isa<LLVM::LoadOp>(op))
        return;
      Type old = op->getResult(0).getType(), type = withIntegers(old);
      if (!type)
        return;
      if (masked)
        for (unsigned i = 2; i < op->getNumOperands(); ++i) // what lanes that are not loaded hold
          cast(i);
      op->getResult(0).setType(type);
      b.setInsertionPointAfter(op);
      auto back = b.create<LLVM::BitcastOp>(op->getLoc(), old, op->getResult(0));
      op->getResult(0).replaceAllUsesExcept(back, back);
    });
  }
};
} // namespace
