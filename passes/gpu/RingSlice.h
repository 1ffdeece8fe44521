// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_RINGSLICE_H
#define MK_PASSES_GPU_RINGSLICE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace mlir::mk {

/// Whether it fills a slot of the ring, waits for one or gives it back. Waits for copies that are
/// under way only hold the loader up.
bool usesRing(Operation *op);

/// The operations of a module that decide how its kernel uses the ring: those uses, what they read,
/// and the control flow around them.
class RingSlice {
public:
  explicit RingSlice(ModuleOp module);

  /// Those of a block, in order.
  ArrayRef<Operation *> of(Block *block) const;
  /// Whether there is a use of the ring in it, or in what it calls.
  bool hasUses(Operation *op) const { return users.contains(op); }
  func::FuncOp callee(func::CallOp op) const { return functions.lookup(op.getCallee()); }

private:
  void add(Operation *op);
  void add(Value value);
  void addAll(ValueRange values) {
    for (Value value : values)
      add(value);
  }
  void follow(Value value);

  llvm::StringMap<func::FuncOp> functions;
  DenseMap<Operation *, SmallVector<func::CallOp>> calls; // by function
  DenseSet<Operation *> ops, users;
  DenseSet<Value> values;
  SmallVector<Value> pending;
  DenseMap<Block *, SmallVector<Operation *>> blocks;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_RINGSLICE_H
