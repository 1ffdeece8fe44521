// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/cpu/Descriptor.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

Value mk::makeDescriptor(ImplicitLocOpBuilder &b, MemRefType type, Value pointer) {
  SmallVector<int64_t> strides;
  int64_t offset;
  (void)getStridesAndOffset(type, strides, offset);
  auto i64 = b.getI64Type();
  auto array = LLVM::LLVMArrayType::get(i64, type.getRank());
  auto structType = LLVM::LLVMStructType::getLiteral(
      b.getContext(), {pointer.getType(), pointer.getType(), i64, array, array});
  Value result = b.create<LLVM::UndefOp>(structType);
  auto set = [&](Value value, ArrayRef<int64_t> position) {
    result = b.create<LLVM::InsertValueOp>(result, value, position);
  };
  auto number = [&](int64_t value) {
    return b.create<LLVM::ConstantOp>(i64, b.getI64IntegerAttr(value));
  };
  set(pointer, {0});
  set(pointer, {1});
  set(number(0), {2});
  for (int64_t i = 0; i < type.getRank(); ++i) {
    set(number(type.isDynamicDim(i) ? INT64_MAX : type.getDimSize(i)), {3, i});
    set(number(strides[i]), {4, i});
  }
  return b.create<UnrealizedConversionCastOp>(type, result).getResult(0);
}
