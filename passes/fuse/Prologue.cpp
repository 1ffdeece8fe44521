// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Region surgery on the prologue of mk.linear.

#include "passes/fuse/Prologue.h"

#include "mlir/IR/IRMapping.h"

namespace mlir::mk {

bool feedsOnlyLinears(Operation *op) {
  return !op->use_empty() && llvm::all_of(op->getUses(), [](OpOperand &use) {
    auto linear = dyn_cast<LinearOp>(use.getOwner());
    return linear && &use == &linear.getInputMutable();
  });
}

void fuseIntoPrologues(Operation *op) {
  Value input = op->getOperand(0);
  OpBuilder builder(op->getContext());
  for (Operation *user : llvm::make_early_inc_range(op->getUsers())) {
    auto linear = cast<LinearOp>(user);
    Block &block = linear.getOrCreatePrologue(builder);
    BlockArgument row = block.getArgument(0);
    builder.setInsertionPointToStart(&block);
    IRMapping mapping;
    mapping.map(input, row);
    Operation *clone = builder.clone(*op, mapping);
    row.replaceAllUsesExcept(clone->getResult(0), clone);
    row.setType(input.getType());
    linear.getInputMutable().assign(input);
  }
  op->erase();
}

} // namespace mlir::mk
