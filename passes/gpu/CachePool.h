// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_CACHEPOOL_H
#define MK_PASSES_GPU_CACHEPOOL_H

#include "dialects/mk/Mk.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// Where keys and values lie on a GPU: blocks [layer][page][kv head] of a page's keys, one row of
/// head_dim elements for each position, then its values. Whole rows are what a bulk copy moves.
struct CachePool {
  GpuBuilder &b;
  CacheType type;
  int64_t page; // positions

  int64_t rowBytes() const { return type.getHeadDim() * 2; }
  /// Bytes into the pool of a block.
  Value block(Value context, Value layer, Value pageNumber, Value head);
  /// Where chunk `chunk` of a position's row is, both in units of 16 bytes: chunks are exchanged
  /// such that eight rows, read together along a row or across them, meet no bank twice.
  Value chunkOf(Value position, Value chunk);
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_CACHEPOOL_H
