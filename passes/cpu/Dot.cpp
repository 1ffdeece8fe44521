// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/cpu/Dot.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

Value mk::emitDot(CodeBuilder &b, mk_cta::DotOp op, StringRef features) {
  auto accType = op.getAcc().getType(), weightType = op.getWeights().getType();
  int64_t lanes = accType.getDimSize(0);
  if (weightType.getElementType().isF32()) {
    Value x = b.create<vector::ExtractOp>(op.getRow(), ArrayRef<int64_t>{0});
    return b.fma(op.getWeights(), b.splat(x, lanes), op.getAcc());
  }
  auto words = VectorType::get({lanes}, b.getI32Type());
  Value pair = b.create<vector::BitCastOp>(VectorType::get({1}, b.getI32Type()), op.getRow());
  Value xs = b.splat(b.create<vector::ExtractOp>(pair, ArrayRef<int64_t>{0}), lanes);
  if (features.contains("avx512bf16") && (lanes == 16 || features.contains("avx512vl"))) {
    std::string name = "llvm.x86.avx512bf16.dpbf16ps." + std::to_string(lanes * 32);
    Value row = b.create<vector::BitCastOp>(weightType, xs);
    return b
        .create<LLVM::CallIntrinsicOp>(accType, b.getStringAttr(name),
                                       ValueRange{op.getAcc(), op.getWeights(), row})
        .getResult(0);
  }
  // The elements of a word are the high halves of two float32: the first shifted up, the second
  // masked.
  Value ws = b.create<vector::BitCastOp>(words, op.getWeights());
  auto first = [&](Value v) -> Value {
    return b.create<arith::BitcastOp>(accType, b.create<arith::ShLIOp>(v, b.constant(words, 16)));
  };
  auto second = [&](Value v) -> Value {
    return b.create<arith::BitcastOp>(accType,
                                      b.create<arith::AndIOp>(v, b.constant(words, -65536)));
  };
  return b.fma(second(ws), second(xs), b.fma(first(ws), first(xs), op.getAcc()));
}
