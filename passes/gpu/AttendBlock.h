// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_ATTENDBLOCK_H
#define MK_PASSES_GPU_ATTENDBLOCK_H

#include "passes/gpu/AttendItems.h"
#include "passes/gpu/SharedLayout.h"

namespace mlir::mk {

/// A softmax over some positions, of a warp: the rows of a tensor core product are heads. Of head
/// lane / 4 a thread has the largest score, its share of the weight, and the sums of two columns of
/// every eight.
struct Softmax {
  Value top, weight;
  SmallVector<Value> sums;
  SmallVector<Value> values() const;
  static Softmax of(ValueRange values);
};

/// What a warp does with its positions of a block that is in the ring: scores = queries x keys,
/// with a column for each position, then sums += weights x values. A row of a product does not
/// depend on the others, so neither on how many heads there are.
class AttendBlock {
public:
  /// The warp's first position is `first`.
  AttendBlock(GpuBuilder &b, const AttendItems &items, const SharedLayout &layout, Value thread,
              ArrayRef<RingPlace> places, Value first);

  static Softmax nothing(GpuBuilder &b, const AttendItems &items);
  /// Writes a chunk of a key and of a value, 16 bytes each, over those of position `position`.
  void replace(Value position, Value chunk, Value key, Value value);
  /// The same by all lanes of the warp, each its columns of key and value, part by part.
  void replaceColumns(Value position, const HeadColumns &columns, ArrayRef<Value> row);
  /// Makes the values of the warp's rows `from` to `to` zeros: what may lie there, also what is no
  /// number, must not meet a weight of zero.
  void clear(Value from, Value to);
  /// Adds the positions before `end`; none before `begin`, if there is such a limit. There must be
  /// one, and the values of the others must be numbers. `query`: operand A, four words for every 32
  /// columns. `scoreOf`: of a product.
  Softmax add(const Softmax &before, Value begin, Value end, ArrayRef<Value> query,
              function_ref<Value(Value)> scoreOf);

private:
  /// Slot and place, in units of 16 bytes, of a chunk of one of the warp's rows.
  SmallVector<Value> find(bool values, Value row, Value chunk);

  GpuBuilder &b;
  AttendItems items;
  Value warp, lane, g, t, ring, chunks, elements, first;
  SmallVector<Value> slots;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_ATTENDBLOCK_H
