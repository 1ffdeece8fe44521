// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_RINGWATCH_H
#define MK_PASSES_GPU_RINGWATCH_H

#include "dialects/mk_cta/MkCta.h"
#include "passes/gpu/SharedLayout.h"

namespace mlir::mk {

/// Who waits within a CTA, for the report of a wait that is overdue.
struct RingWatch {
  GpuBuilder &b;
  Value context, worker, number;

  Value overdue() const { return SharedLayout::flag(b, SharedLayout::kOverdue); }
  Value quit() const { return SharedLayout::flag(b, SharedLayout::kQuit); }
  /// Consumers leave when any thread of the CTA has waited too long, the loader when they have
  /// left.
  Value awaitFull(Value barriers, RingPlace place) const {
    return await(mk_cta::RingWait::full, barriers, b.toIndex(place.slot), place.parity, overdue());
  }
  Value awaitEmpty(Value barriers, Value slot, Value parity) const {
    return await(mk_cta::RingWait::empty, barriers, slot, parity, quit());
  }
  /// Of copies that are under way: nobody may leave before they are there.
  Value awaitLanded(Value barriers, RingPlace place) const {
    return await(mk_cta::RingWait::landed, barriers, b.toIndex(place.slot), place.parity, Value());
  }
  Value awaitTold(mk_cta::RingWait what, Value word, Value step) const {
    return b.create<mk_cta::AwaitToldOp>(b.getI1Type(), what, word, step, context, worker, number,
                                         overdue(), quit());
  }

private:
  Value await(mk_cta::RingWait what, Value barriers, Value slot, Value parity, Value quit) const {
    return b.create<mk_cta::RingAwaitOp>(b.getI1Type(), what, barriers, slot, parity, context,
                                         worker, number, overdue(), quit, Value());
  }
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_RINGWATCH_H
