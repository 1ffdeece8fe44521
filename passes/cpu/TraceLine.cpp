// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/cpu/TraceLine.h"

using namespace mlir;
using namespace mlir::mk;

static constexpr int64_t kLineBytes = 64;

Value mk::traceLine(CodeBuilder &b, Value trace, Value instructions, Value worker, Value step,
                    Value number) {
  auto toIndex = [&](Value i64) -> Value {
    return b.create<arith::IndexCastOp>(b.getIndexType(), i64);
  };
  Value word = toIndex(trace);
  // Steps that are kept are a power of two: no line costs a division.
  Value log = b.create<arith::AndIOp>(word, b.index(kLineBytes - 1));
  Value kept = b.create<arith::ShLIOp>(b.index(1), log);
  Value place = b.create<arith::AndIOp>(step, b.sub(kept, b.index(1)));
  Value list = b.add(b.create<arith::ShLIOp>(worker, log), place);
  Value line = b.add(b.mul(list, toIndex(instructions)), number);
  return b.add(b.sub(word, log), b.mul(line, kLineBytes));
}
