// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_SHAREDLAYOUT_H
#define MK_PASSES_GPU_SHAREDLAYOUT_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// Bytes of shared memory: barriers and flags, what kinds use, then the ring.
struct SharedLayout {
  SharedLayout(mk_task::ProgramOp program, TargetAttr target);
  /// Flags, behind full and empty barriers: to leave, that flagged words never came; slots used;
  /// with times, nanoseconds that a body has waited for the ring.
  static constexpr int64_t kQuit = 1000, kOverdue = 1004, kUsed = 1008, kRingWait = 1012;
  /// What a step is asked to do, int32 [4 arrays][16]: tokens, positions, slots, rows.
  static constexpr int64_t kHeader = 1024;
  static int64_t headerOf(StringRef array) {
    return array == "tokens"      ? 0
           : array == "positions" ? 1
           : array == "slots"     ? 2
           : array == "rows"      ? 3
                                  : -1;
  }
  /// Sizes of this step and of the one before, by copy of the flagged buffers, int32 [2][4].
  static constexpr int64_t kSizes = kHeader + 256;
  enum Size { tokens, rows, lastPosition, sizes };
  /// The first pages of each token's slot, int32 [16][kPages], as many as fit between the barriers
  /// of kMaxStages slots and the flags; a longer sequence has others too.
  static constexpr int64_t kMaxStages = 16, kPageRows = kMaxStages * 16, kPages = 11;
  static_assert(kPageRows + kMaxRows * kPages * 4 <= kQuit);
  int64_t scratch = kSizes + 64; // first byte
  int64_t ring;                  // first byte
  int64_t stages;
  int64_t bytes() const { return ring + stages * kSlotBytes; }
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_SHAREDLAYOUT_H
