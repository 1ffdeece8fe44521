// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-glu: the gate, computed where the accumulators of gate and up meet.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Passes.h"
#include "passes/fuse/Columns.h"
#include "passes/fuse/Epilogue.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEGLU
#include "passes/Passes.h.inc"

/// The accumulators' columns [begin, end) that a value of an epilogue is made of.
static void collectColumns(Value value, SmallVectorImpl<std::pair<int64_t, int64_t>> &columns) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    columns.push_back({0, getColumns(argument)});
    return;
  }
  Operation *op = value.getDefiningOp();
  if (auto slice = dyn_cast<SliceOp>(op); slice && isa<BlockArgument>(slice.getInput())) {
    int64_t offset = slice.getOffset();
    columns.push_back({offset, offset + getColumns(slice.getResult())});
    return;
  }
  for (Value operand : op->getOperands())
    if (operand.getParentRegion() == value.getParentRegion())
      collectColumns(operand, columns);
}

static bool touches(Value value, ArrayRef<std::pair<int64_t, int64_t>> others) {
  SmallVector<std::pair<int64_t, int64_t>> columns;
  collectColumns(value, columns);
  return llvm::any_of(columns, [&](auto a) {
    return llvm::any_of(others, [&](auto b) { return a.first < b.second && b.first < a.second; });
  });
}

/// A tile has column i of both, and what they make together is written where the first one is. So
/// nobody may need the second one but with the first one; a cache stores each for itself.
static bool isOnlyReadTogether(Operation &op) {
  auto first = dyn_cast<OpResult>(op.getOperand(0)), second = dyn_cast<OpResult>(op.getOperand(1));
  if (!first || !second || first.getOwner() != second.getOwner() || first == second)
    return true; // they do not share tiles
  auto readsOne = [&](Operation *user) {
    return !llvm::is_contained(user->getOperands(), first) ||
           !llvm::is_contained(user->getOperands(), second) ||
           !(isa<GluOp>(user) || pairsColumns(user));
  };
  if (llvm::any_of(first.getUsers(), readsOne) || llvm::any_of(second.getUsers(), readsOne))
    return false;
  Value inside[] = {getYielded(first), getYielded(second)};
  if (!inside[0])
    return true;
  SmallVector<std::pair<int64_t, int64_t>> columns[2];
  for (int i : {0, 1})
    collectColumns(inside[i], columns[i]);
  return llvm::all_of(first.getOwner()->getResults(), [&](OpResult other) {
    if (other == first || other == second || other.use_empty())
      return true;
    Value value = getYielded(other);
    bool ofFirst = touches(value, columns[0]), ofSecond = touches(value, columns[1]);
    return isa<CacheType>(other.getType()) ? !ofFirst && !ofSecond : ofFirst == ofSecond;
  });
}

namespace {
struct FuseGlu : impl::FuseGluBase<FuseGlu> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody())
      for (Operation &op : llvm::make_early_inc_range(block))
        if ((isa<GluOp>(op) || pairsColumns(&op)) && isOnlyReadTogether(op))
          fuseIntoEpilogue(&op);
  }
};
} // namespace
} // namespace mlir::mk
