// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_SHAREDLAYOUT_H
#define MK_PASSES_GPU_SHAREDLAYOUT_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// Threads of a CTA.
inline int64_t threadsOf(TargetAttr target) {
  return target.getSetRegisters() ? kThreads : kConsumers + 32;
}

/// Bytes of shared memory: barriers and flags, what kinds use, then the ring.
struct SharedLayout {
  SharedLayout(mk_task::ProgramOp program, TargetAttr target);
  /// Flags, behind full and empty barriers: to leave, that flagged words never came; slots used;
  /// the step that the consumers have begun, and that which the loader has done with; with times,
  /// nanoseconds that a body has waited for the ring.
  static constexpr int64_t kQuit = 1000, kOverdue = 1004, kUsed = 1008, kReady = 1012,
                           kPassed = 1016, kRingWait = 1020;
  /// What a step is asked to do, int32 [4 arrays][16]: tokens, positions, slots, rows. A function
  /// with inputs has no rows of logits, but perhaps the last position that each of its rows sees.
  static constexpr int64_t kHeader = 1024, kSeen = 3;
  static int64_t headerOf(StringRef array) {
    return array == "tokens"      ? 0
           : array == "positions" ? 1
           : array == "slots"     ? 2
           : array == "rows"      ? 3
                                  : -1;
  }
  /// Sizes of this step and of the one before, by copy of the flagged buffers, int32 [2][4].
  static constexpr int64_t kSizes = kHeader + 256;
  /// The route that the loader has read last: see GpuExperts.cpp.
  static constexpr int64_t kRouted = kSizes + 32;
  /// The instruction whose predicates the loader has asked for last: see TaskConditions.h.
  static constexpr int64_t kAsked = kRouted + 4;
  enum Size { tokens, rows, lastPosition, sizes };
  /// The first pages of each token's slot, int32 [16][kPages], as many as fit between the barriers
  /// of kMaxStages slots and the flags; a longer sequence has others too.
  static constexpr int64_t kMaxStages = 16, kPageRows = kMaxStages * 16, kPages = 11;
  static_assert(kPageRows + kMaxRows * kPages * 4 <= kQuit);
  /// The experts of an instruction, for either half of the CTA: see ChosenExperts.h.
  int64_t loaderList = kSizes + 64, consumerList; // first bytes
  /// What a product takes: two buffers of sums [unit][warp][token][4], where units x tokens is 64
  /// at most, the sums of squares [warp][token], and the best of each unit.
  static constexpr int64_t kSumBytes = 2 * 64 * kConsumerWarps * 4 * 4,
                           kSquareBytes = kConsumerWarps * kMaxRows * 4,
                           kProductBytes = kSumBytes + kSquareBytes + 2 * 64 * 8;
  int64_t scratch; // first byte
  int64_t ring;    // first byte
  int64_t stages;
  static Value flag(GpuBuilder &b, int64_t place) { return b.shared(place, {1}, b.getI32Type()); }
  static Value header(GpuBuilder &b) { return b.shared(kHeader, {4, kMaxRows}, b.getI32Type()); }
  static Value sizeTable(GpuBuilder &b) {
    return b.shared(kSizes, {2, Size::sizes + 1}, b.getI32Type());
  }
  /// What stands for an instruction of a step: it grows from one to the next.
  static Value instructionNumber(GpuBuilder &b, Value context, Value step, Value number);
  static Value pageRows(GpuBuilder &b) {
    return b.shared(kPageRows, {kMaxRows, kPages}, b.getI32Type());
  }
  Value full(GpuBuilder &b) const { return b.shared(0, {stages}, b.getI64Type()); }
  Value empty(GpuBuilder &b) const { return b.shared(stages * 8, {stages}, b.getI64Type()); }
  /// The slots, in words.
  Value slots(GpuBuilder &b) const {
    return b.shared(ring, {stages, kSlotBytes / 4}, b.getI32Type());
  }
  int64_t bytes() const { return ring + stages * kSlotBytes; }
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_SHAREDLAYOUT_H
