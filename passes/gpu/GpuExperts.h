// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the two bodies of `experts` kinds share: GpuExperts.cpp and GpuMoeCombine.cpp.
#ifndef MK_PASSES_GPU_GPUEXPERTS_H
#define MK_PASSES_GPU_GPUEXPERTS_H

#include "passes/gpu/ChosenExperts.h"
#include "passes/gpu/GpuEmitter.h"
#include "passes/gpu/TileProducts.h"

namespace mlir::mk {

/// What both bodies have.
struct GpuEmitter::ExpertTask {
  Operation *op;
  ChosenExperts &experts;
  TileProducts tiles;
  int64_t rowGroups, most, perBarrier; // rows; units whose sums are added up behind a barrier
  Value count, begin, units, stream;
  Value sums, scalars; // [buffer][unit][warp][row][4 columns]
  const mk_task::FragmentTile &tile() const { return experts.tile; }
  int64_t chunks() const { return experts.tile.chunks; }
  int64_t perWarp() const { return TileProducts::blocksPerWarp(experts.tile); }
};

/// Who the experts are, for all threads.
void findExperts(GpuBuilder &b, ChosenExperts &experts, Value thread, Value count, RingWatch watch,
                 Value step);

/// Words as operands of products: [row group][block][segment].
RowFragments fragmentsOf(ArrayRef<Value> words, int64_t rowGroups, int64_t perWarp);

} // namespace mlir::mk

#endif // MK_PASSES_GPU_GPUEXPERTS_H
