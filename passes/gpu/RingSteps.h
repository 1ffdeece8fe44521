// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The steps for which mk-verify-ring runs both halves of a CTA.
#ifndef MK_PASSES_GPU_RINGSTEPS_H
#define MK_PASSES_GPU_RINGSTEPS_H

#include "dialects/mk_task/MkTask.h"

#include <set>

namespace mlir::mk {

/// The conditions of an instruction: the word of a predicate, and the side.
using Asked = SmallVector<std::pair<int32_t, bool>>;

/// A step as the kernel sees it.
struct RingStep {
  int64_t tokens, rows;
  SmallVector<int64_t> positions; // of each token, in a slot of its own
  SmallVector<int64_t> experts;   // that its tokens choose, of every route
  Asked sides = {};               // of predicates; those of all others are `otherwise`
  bool otherwise = true;
};

/// What the data of a step may choose, in a table.
struct RingChoices {
  int64_t fewestExperts = 0; // of a kind
  std::set<Asked> asked;     // by instructions
};

/// Every number of tokens up to `most`, with contexts of up to two ranges and as many experts; then
/// many with contexts of as many ranges as a CTA joins and of more, one with contexts of all sorts,
/// no and all experts, and no rows. All of these with all
/// predicates true, and with all false; then, for the conditions of each instruction, one step in
/// which they hold, and for each of them one in which it alone fails.
SmallVector<RingStep> stepsOf(OptionsAttr options, ArrayRef<mk_task::KindOp> kinds,
                              const RingChoices &choices, int64_t most);

} // namespace mlir::mk

#endif // MK_PASSES_GPU_RINGSTEPS_H
