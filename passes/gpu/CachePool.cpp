// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/CachePool.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

Value CachePool::block(Value context, Value layer, Value pageNumber, Value head) {
  Value pages = b.create<mk_cta::ContextWordOp>(context, "pool_pages");
  Value number = b.add(b.mul(b.add(b.mul(layer, pages), pageNumber), type.getHeads()), head);
  return b.wideMul(number, 2 * page * rowBytes());
}

Value CachePool::chunkOf(Value position, Value chunk) {
  auto bits = [&](int64_t shift, int64_t mask) -> Value {
    return b.createOrFold<arith::AndIOp>(b.createOrFold<arith::ShRUIOp>(position, b.index(shift)),
                                         b.index(mask));
  };
  Value result = b.createOrFold<arith::XOrIOp>(chunk, bits(1, 3));
  if (rowBytes() >= 128) // a row meets all banks: neighbours begin in different halves
    result = b.createOrFold<arith::XOrIOp>(result, b.mul(bits(0, 1), 4));
  return result;
}
