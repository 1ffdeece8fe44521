// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Norms of rows whose factor is needed before any column is: a norm that stands alone, and one that
// subtracts the mean. All threads of the CTA add up a row, thread t its columns t, t + 256, ...;
// lanes are joined by shuffles and warps in ascending order, so a row has the same bits in any
// step.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// Columns of a thread whose loads are under way together.
static constexpr int64_t kColumnsAtOnce = 8;

/// Of each norm the means [row] and the factors [row].
static constexpr int64_t kStatBytes = 2 * kMaxRows * 4;

SmallVector<Operation *> GpuEmitter::findNorms(mk_task::KindOp kind) {
  SmallVector<Operation *> norms;
  bool isProduct = isa<LinearOp>(kind.getAnchor()); // which scales its sums by the factor of a row
  kind.walk([&](Operation *op) {
    if (isa<LayerNormOp>(op) || (isa<RmsNormOp>(op) && !isProduct))
      norms.push_back(op);
  });
  return norms;
}

int64_t GpuEmitter::normBytes(mk_task::KindOp kind) {
  int64_t count = findNorms(kind).size();
  return count ? kPartialBytes + count * kStatBytes : 0;
}

/// The sum over the columns of every row of what `term` makes of one, for all threads to read.
void GpuEmitter::sumRows(Value input, function_ref<Value(Value x, Value row)> term,
                         function_ref<void(Value sum, Value row)> finish) {
  int64_t columns = getColumns(input);
  int64_t step =
      kConsumers * std::min<int64_t>(kColumnsAtOnce, llvm::divideCeil(columns, kConsumers));
  Value partial = shared(normPartials, {kConsumerWarps, kMaxRows}, f32());
  Value warp = b.div(thread, 32), lane = b.rem(thread, 32), zero = b.constant(f32(), 0.0);
  b.loop(b.index(0), rowCount(), b.index(1), [&](Value row) {
    Value sum = b.loop(
        b.index(0), b.index(columns), b.index(step), zero, [&](Value first, ValueRange carried) {
          auto columnOf = [&](int64_t i) { return b.add(b.add(first, thread), i * kConsumers); };
          SmallVector<Value> loaded = whenWritten(
              [&] {
                SmallVector<Value> all;
                for (int64_t i = 0; i < step / kConsumers; ++i) // none beyond the row
                  all.push_back(pull(input, row, {b.min(columnOf(i), b.index(columns - 1)), 0}));
                return all;
              },
              /*together=*/false);
          Value sum = carried[0];
          for (auto [i, x] : llvm::enumerate(loaded))
            sum = b.fadd(sum, b.select(b.less(columnOf(i), b.index(columns)), term(x, row), zero));
          return SmallVector<Value>{sum};
        })[0];
    sum = b.reduceLanes(sum, 32, [&](Value x, Value y) { return b.fadd(x, y); });
    b.when(b.equal(lane, b.index(0)), [&] { b.write(sum, partial, {warp, row}); });
  });
  b.barrier();
  b.when(b.less(thread, rowCount()), [&] {
    Value total = b.read(partial, {b.index(0), thread});
    for (int64_t w = 1; w < kConsumerWarps; ++w)
      total = b.fadd(total, b.read(partial, {b.index(w), thread}));
    finish(total, thread);
  });
  b.barrier();
}

/// Two places in shared memory: of kPartialBytes, and of kStatBytes for each norm.
void GpuEmitter::prepareNorms(int64_t partials, int64_t place) {
  normPartials = partials;
  for (Operation *op : findNorms(kind)) {
    auto layerNorm = dyn_cast<LayerNormOp>(op);
    Value input = op->getOperand(0), inverse = b.constant(f32(), 1.0 / getColumns(input));
    Value stats = normStats[op] = shared(place, {2, kMaxRows}, f32());
    place += kStatBytes;
    auto meanOf = [&](Value row) { return b.read(stats, {b.index(0), row}); };
    if (layerNorm)
      sumRows(
          input, [&](Value x, Value) { return x; },
          [&](Value sum, Value row) { b.write(b.fmul(sum, inverse), stats, {b.index(0), row}); });
    APFloat eps = layerNorm ? layerNorm.getEps() : cast<RmsNormOp>(op).getEps();
    sumRows(
        input,
        [&](Value x, Value row) {
          if (layerNorm)
            x = b.fsub(x, meanOf(row));
          return b.fmul(x, x);
        },
        [&](Value sum, Value row) {
          b.write(inverseRoot(sum, getColumns(input), eps), stats, {b.index(1), row});
        });
  }
}

/// A column of a norm from that of its input, and of its vectors.
Value GpuEmitter::normalize(Operation *op, Value row, Value x, ArrayRef<Value> vectors) {
  Value stats = normStats.lookup(op);
  auto layerNorm = dyn_cast<LayerNormOp>(op);
  if (layerNorm)
    x = b.fsub(x, b.read(stats, {b.index(0), row}));
  x = b.fmul(x, b.read(stats, {b.index(1), row}));
  bool hasBias = layerNorm && layerNorm.getBias();
  if (vectors.size() > hasBias)
    x = b.fmul(x, vectors.front());
  return hasBias ? b.fadd(x, vectors.back()) : x;
}
