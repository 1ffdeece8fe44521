// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weight tiles in the ring times rows in registers. A tile holds 4 rows of the weight; a block of
// it, 64 columns of these, is operand B of two tensor core products: 8 columns = 2 groups of K
// times 4 rows. Operand A holds 8 tokens twice, once for each group, so of the result only the
// blocks on the diagonal count. Warp w takes the blocks w, w + 8, ... of every chunk.
#ifndef MK_PASSES_GPU_TILEPRODUCTS_H
#define MK_PASSES_GPU_TILEPRODUCTS_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/RingWatch.h"
#include "passes/gpu/SharedLayout.h"

namespace mlir::mk {

/// What a thread holds of the rows of one chunk: [row group][block of the warp][segment of 32
/// columns] of four words, which are an operand A.
struct RowFragments {
  SmallVector<SmallVector<std::array<SmallVector<Value>, 2>>> words;
  SmallVector<Value> squares; // of the norm's input, by row group
};

class TileProducts {
public:
  TileProducts(GpuBuilder &b, const SharedLayout &layout, RingWatch watch,
               mk_task::FragmentTile tile, int64_t rowGroups, Value thread);

  /// Blocks of a chunk that a warp takes.
  static int64_t blocksPerWarp(const mk_task::FragmentTile &tile);
  /// Units whose sums are kept until they are added up. The order of the copies of a tile in chunks
  /// depends on it, so there it must not depend on the number of tokens.
  static int64_t batchUnits(const mk_task::FragmentTile &tile, int64_t rowGroups);
  /// Tiles that are multiplied together: one alone would leave a warp waiting for each of its
  /// steps.
  int64_t together() const { return slots * tile.group; }

  /// Sums of that many units, [unit][row group][segment], before their first chunk.
  SmallVector<Value> nothing(int64_t units);
  /// Takes a chunk of the `sums.size()` units from `first` on out of the ring, those below `units`.
  /// That of the first one lies at `offset` bytes of the stream.
  RingPlace multiply(const RowFragments &x, Value first, Value units, Value offset, RingPlace at,
                     MutableArrayRef<Value> sums);
  /// Writes sums of the warp to shared memory, [buffer][unit][warp][row][pair of weight rows].
  void store(Value first, Value memory, Value buffer, ArrayRef<Value> sums);
  /// Adds sums to totals, [unit][row group][pair of weight rows] of float32, with the weights of
  /// this thread's rows, where `exist`; and stores totals as `store` does sums.
  SmallVector<Value> addWeighted(ArrayRef<Value> totals, ArrayRef<Value> sums,
                                 ArrayRef<Value> weights, ArrayRef<Value> exist);
  void storeTotals(Value memory, Value buffer, ArrayRef<Value> totals);

private:
  SmallVector<Value> load(Value slot, int64_t byte16);

  GpuBuilder &b;
  const SharedLayout &layout;
  RingWatch watch;
  mk_task::FragmentTile tile;
  int64_t rowGroups, perWarp, slots;
  Value thread, warp, lane, g, t, ring, full, empty;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_TILEPRODUCTS_H
