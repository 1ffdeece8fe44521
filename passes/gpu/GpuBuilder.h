// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What bodies for a GPU write beside the arithmetic of CodeBuilder: threads, barriers, shuffles,
// and the shape of a CTA.
#ifndef MK_PASSES_GPU_GPUBUILDER_H
#define MK_PASSES_GPU_GPUBUILDER_H

#include "passes/cpu/VectorMath.h"

namespace mlir::mk {

/// Consumer warps compute; one more warp, the loader, fills the ring. Registers move between groups
/// of four warps, where they can: three more warps, which leave at once, complete the loader's
/// group and give up theirs.
inline constexpr int64_t kConsumerWarps = 8, kConsumers = 32 * kConsumerWarps,
                         kThreads = kConsumers + 128;
/// Registers of a thread: a kernel of kThreads begins with 168 for each, and what one group takes
/// another must have given, or it waits for ever.
inline constexpr int32_t kFirstRegisters = 168, kConsumerRegisters = 224, kLoaderRegisters = 56;
static_assert((kFirstRegisters - kLoaderRegisters) * (kThreads - kConsumers) >=
              (kConsumerRegisters - kFirstRegisters) * kConsumers);
/// Bytes of a slot of the ring.
inline constexpr int64_t kSlotBytes = 16384;
/// Tokens, or rows of logits, of one step: two groups of the eight rows that a fragment holds.
inline constexpr int64_t kGroupRows = 8, kMaxRows = 16;
/// Memory spaces of memrefs: what all CTAs see, and what one does.
inline constexpr unsigned kGlobal = 1, kShared = 3;

/// Where a consumer stands in the ring: the next slot, its parity, and how many slots it has used.
struct RingPlace {
  Value slot, parity, used; // i32
  SmallVector<Value> values() const { return {slot, parity, used}; }
  static RingPlace of(ValueRange values) { return {values[0], values[1], values[2]}; }
};

struct GpuBuilder : CodeBuilder {
  using CodeBuilder::CodeBuilder;

  Value thread(); // its number in the CTA, an index
  /// Memory of an arena.
  Value view(Value context, StringRef arena, Value offset, ArrayRef<int64_t> shape,
             ArrayRef<int64_t> strides, Type element);
  /// Memory of the CTA.
  Value shared(int64_t offset, ArrayRef<int64_t> shape, Type element);
  void barrier(); // of the consumers
  void syncWarp();
  Value shuffleXor(Value value, int64_t mask); // f32 or i32
  /// The largest or the sum over the `lanes` neighbouring threads, the same in each of them.
  Value reduceLanes(Value value, int64_t lanes, function_ref<Value(Value, Value)> join,
                    int64_t from = 1);
  // Indices of rows, columns, units and positions are small, and a GPU computes in 32 bits: half
  // the instructions and registers. None of these may overflow.
  Value toI32(Value index);
  Value toIndex(Value integer) { return createOrFold<arith::IndexCastOp>(getIndexType(), integer); }
  Value add(Value a, Value b) { return small<arith::AddIOp>(a, b); }
  Value add(Value a, int64_t b) { return b ? add(a, index(b)) : a; }
  Value sub(Value a, Value b) { return small<arith::SubIOp>(a, b); }
  Value mul(Value a, int64_t b) { return b == 1 ? a : mul(a, index(b)); }
  Value mul(Value a, Value b) { return small<arith::MulIOp>(a, b); }
  Value div(Value a, int64_t b) { return b == 1 ? a : small<arith::DivUIOp>(a, index(b)); }
  Value rem(Value a, int64_t b) { return b == 1 ? index(0) : small<arith::RemUIOp>(a, index(b)); }
  Value min(Value a, Value b) { return small<arith::MinSIOp>(a, b); }
  Value max(Value a, Value b) { return small<arith::MaxSIOp>(a, b); }
  Value less(Value a, Value b) { return compare(arith::CmpIPredicate::slt, a, b); }
  Value equal(Value a, Value b) { return compare(arith::CmpIPredicate::eq, a, b); }
  /// Bytes into an arena and numbers of steps need all 64 bits of an index.
  Value wideAdd(Value a, Value b) { return CodeBuilder::add(a, b); }
  Value wideSub(Value a, Value b) { return CodeBuilder::sub(a, b); }
  Value wideMul(Value a, Value b) { return CodeBuilder::mul(a, b); }
  Value wideMul(Value a, int64_t b) { return CodeBuilder::mul(a, b); }
  /// Loops count in 32 bits too.
  SmallVector<Value> loop(Value from, Value to, Value step, ValueRange init, LoopBody body);
  void loop(Value from, Value to, Value step, function_ref<void(Value iv)> body);
  Value both(Value a, Value b) { return create<arith::AndIOp>(a, b); }
  Value select(Value condition, Value a, Value b) {
    return create<arith::SelectOp>(condition, a, b);
  }
  Value read(Value memory, ValueRange indices) { return create<memref::LoadOp>(memory, indices); }
  void write(Value value, Value memory, ValueRange indices) {
    create<memref::StoreOp>(value, memory, indices);
  }
  /// Element of a vector, and a vector of elements.
  Value element(Value vector, int64_t i) {
    return create<vector::ExtractOp>(vector, ArrayRef<int64_t>{i});
  }
  Value pack(ValueRange elements);
  /// Two float32 rounded to bfloat16 in one i32, the first in the low half.
  Value packPair(Value low, Value high);
  /// And back: the two bfloat16 of an i32, in float32.
  std::array<Value, 2> halves(Value word);
  /// By the special function unit, to about 2 ulp (e^x: of its product with log2 e), in a handful
  /// of instructions without branches: e^x, 1 / x, 1 / sqrt(x), x / (1 + e^-x).
  Value fastExp(Value x);
  Value wholeExp(Value x) { return fastExp(x); } // the function unit knows infinity
  Value inverse(Value x) { return special("llvm.nvvm.rcp.approx.ftz.f", x); }
  Value inverseRoot(Value x) { return special("llvm.nvvm.rsqrt.approx.f", x); }
  Value silu(Value x);
  Value ratio(Value a, Value b) { return fmul(a, inverse(b)); }
  Value keepNan(Value, Value result) { return result; } // nor does it lose what is no number
  /// Quotient and remainder of two indices below 2^32, which a GPU divides faster.
  std::pair<Value, Value> divide32(Value a, Value b);
  Value addI32(Value a, Value b) { return createOrFold<arith::AddIOp>(a, b); }
  /// if (condition) then() else otherwise(), with results.
  SmallVector<Value> choose(TypeRange types, Value condition,
                            function_ref<SmallVector<Value>()> then,
                            function_ref<SmallVector<Value>()> otherwise);
  Value choose(Type type, Value condition, function_ref<Value()> then,
               function_ref<Value()> otherwise) {
    return choose(
        TypeRange(type), condition, [&] { return SmallVector<Value>{then()}; },
        [&] { return SmallVector<Value>{otherwise()}; })[0];
  }
  /// The place after one more slot of a ring of so many, or after `count`, at most all of them.
  RingPlace next(RingPlace place, int64_t stages) { return advance(place, integer(1), stages); }
  RingPlace advance(RingPlace place, Value count, int64_t stages);

private:
  Value special(StringRef intrinsic, Value x);
  template <typename Op> Value small(Value a, Value b) {
    if (!a.getType().isIndex())
      return createOrFold<Op>(a, b);
    return toIndex(createOrFold<Op>(toI32(a), toI32(b)));
  }
  Value compare(arith::CmpIPredicate predicate, Value a, Value b) {
    if (a.getType().isIndex())
      return create<arith::CmpIOp>(predicate, toI32(a), toI32(b));
    return create<arith::CmpIOp>(predicate, a, b);
  }
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_GPUBUILDER_H
