// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/cpu/VectorMath.h"

#include "dialects/mk_cta/MkCta.h"

namespace mlir::mk {
#define GEN_PASS_DEF_LOWERMATMUL
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
struct LowerMatmul : mk::impl::LowerMatmulBase<LowerMatmul> {
  void runOnOperation() override {
    SmallVector<mk_cta::MatmulOp> products;
    getOperation().walk([&](mk_cta::MatmulOp op) { products.push_back(op); });
    for (mk_cta::MatmulOp op : products) {
      lower(op);
      op.erase();
    }
  }

  void lower(mk_cta::MatmulOp op) {
    CodeBuilder b(op.getLoc(), op);
    auto tileType = cast<MemRefType>(op.getTile().getType()),
         accType = cast<MemRefType>(op.getAcc().getType());
    Type element = tileType.getElementType();
    int64_t words = tileType.getDimSize(0), groups = tileType.getDimSize(1), count = op.getCount();
    int64_t lanes = accType.getDimSize(2), perWord = mk_cta::elementsPerWord(element);
    auto accVector = VectorType::get({lanes}, b.getF32Type());
    auto tileVector = VectorType::get({lanes * perWord}, element),
         word = VectorType::get({perWord}, element);

    // With one row the loop is loads: enough of them per turn hide the latency of the dependent
    // products.
    int64_t unroll = count * groups >= 8 ? 1 : 4;
    while (words % unroll != 0)
      unroll /= 2;

    SmallVector<Value> rows, init;
    for (int64_t i = 0; i < count; ++i)
      rows.push_back(b.add(op.getFirst(), i));
    for (int64_t i = 0; i < count * groups; ++i)
      init.push_back(b.constant(accVector, 0.0));
    SmallVector<Value> sums = b.loop(
        b.index(0), b.index(words), b.index(unroll), init, [&](Value base, ValueRange carried) {
          SmallVector<Value> acc(carried);
          for (int64_t step = 0; step < unroll; ++step) {
            Value k = b.add(base, step);
            SmallVector<Value> weights;
            for (int64_t g = 0; g < groups; ++g)
              weights.push_back(b.create<vector::LoadOp>(tileVector, op.getTile(),
                                                         ValueRange{k, b.index(g), b.index(0)}));
            for (int64_t i = 0; i < count; ++i) {
              Value x = b.create<vector::LoadOp>(word, op.getRows(),
                                                 ValueRange{rows[i], b.mul(k, perWord)});
              for (int64_t g = 0; g < groups; ++g)
                acc[i * groups + g] =
                    b.create<mk_cta::DotOp>(accVector, acc[i * groups + g], weights[g], x);
            }
          }
          return acc;
        });
    for (int64_t i = 0; i < count; ++i)
      for (int64_t g = 0; g < groups; ++g)
        b.create<vector::StoreOp>(sums[i * groups + g], op.getAcc(),
                                  ValueRange{b.index(i), b.index(g), b.index(0)});
  }
};
} // namespace
