// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_COST_H
#define MK_PASSES_ANALYSIS_COST_H

#include "dialects/mk_task/MkTask.h"

namespace mlir::mk {

/// What work costs, counted in bytes of memory traffic: decoding is bound by it, and the target
/// record turns time into bytes by its bandwidth.
struct CostModel {
  TargetAttr target;
  OptionsAttr options;

  /// One unit of a kind in a step with this many rows.
  double unit(mk_task::KindOp kind, int64_t rows) const;
  /// Signalling an event on one worker and seeing it on another.
  double event() const;
  /// The most rows that a step can have in the kind's domain.
  int64_t maxRows(mk_task::KindOp kind) const;
};

} // namespace mlir::mk

#endif // MK_PASSES_ANALYSIS_COST_H
