// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_RINGASSEMBLY_H
#define MK_PASSES_GPU_RINGASSEMBLY_H

#include "dialects/mk/Mk.h"
#include "passes/gpu/CtaAssembly.h"

namespace mlir::mk {

/// What mk-lower-cta-to-nvvm makes of the ring: the memory order of each operation is argued in its
/// description. Contexts are pointers already.
class RingAssembly {
public:
  /// Without a target the instructions are those of sm_90a.
  RingAssembly(GpuBuilder &b, TargetAttr target) : b(b), bulk(!target || target.getBulkCopy()) {}

  void init(mk_cta::RingInitOp op);
  Value await(mk_cta::RingAwaitOp op);
  Value awaitTold(mk_cta::AwaitToldOp op);
  void fill(mk_cta::RingFillOp op);
  void copy(mk_cta::RingCopyOp op);
  void announce(mk_cta::RingAnnounceOp op);
  void release(mk_cta::RingReleaseOp op);
  void proxyFence(mk_cta::ProxyFenceOp op);

private:
  Value lane() { return b.toI32(b.rem(b.thread(), 32)); }
  void copyPieces(Value to, Value from, Value bytes, Value first, int64_t lanes, bool once);
  void arriveBehindCopies(Value barrier);

  GpuBuilder &b;
  bool bulk;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_RINGASSEMBLY_H
