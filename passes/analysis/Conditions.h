// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_CONDITIONS_H
#define MK_PASSES_ANALYSIS_CONDITIONS_H

#include "dialects/mk/Mk.h"

namespace mlir::mk {

/// One side of the `mk.choose` ops of a predicate.
struct Side {
  Value predicate;
  bool taken;
  bool operator==(const Side &o) const { return predicate == o.predicate && taken == o.taken; }
};

/// For each op of a block the sides without which nobody needs its results: all of them hold in
/// every step in which something that leaves the block depends on the op. Ops that are always
/// needed have none. What an op of the block needs is never under a condition that the op is not
/// under, nor is a predicate that it is asked for; so whoever runs finds what it reads.
class Conditions {
public:
  /// `inOrder`: only predicates that come before the op, for whoever keeps the block's order.
  explicit Conditions(Block &block, bool inOrder = true);
  ArrayRef<Side> of(Operation *op) const {
    auto found = sides.find(op);
    return found == sides.end() ? ArrayRef<Side>() : ArrayRef<Side>(found->second);
  }

private:
  SmallVector<Side, 2> find(Operation *op, Block &block, bool inOrder) const;

  DenseMap<Operation *, SmallVector<Side, 2>> sides;
  DenseMap<Value, SmallVector<Operation *>> asked; // by predicate: the ops under a side of it
};

/// Moves what decides in front of what it decides about; a block without `mk.choose` stays as it
/// is.
void moveDecisionsUp(Block &block);

/// Whether every row of the value is equal to every other.
bool isEqualInAllRows(Value value);

} // namespace mlir::mk

#endif // MK_PASSES_ANALYSIS_CONDITIONS_H
