// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-fuse-heads: norms of heads, and the work on heads around them, as one task.

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "passes/Passes.h"
#include "passes/fuse/MoveUp.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FUSEHEADS
#include "passes/Passes.h.inc"

// The size of the heads that the op works on, each for itself; 0 if it is no such op.
static int64_t getHeadDim(Operation *op) {
  if (auto norm = dyn_cast<HeadNormOp>(op))
    return norm.getHeadDim();
  if (auto rope = dyn_cast<RopeOp>(op))
    return rope.getHeadDim();
  if (auto append = dyn_cast<KvAppendOp>(op))
    return append.getCache().getType().getHeadDim();
  return 0;
}

static bool areRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 2;
}

namespace {
/// What is found from one norm on: ops on heads of one size that read results of one op, or of each
/// other. They will stand where the first of them does.
struct Group {
  explicit Group(HeadNormOp norm) : headDim(norm.getHeadDim()) {
    if (Operation *source = norm.getInput().getDefiningOp())
      rows.insert(source->result_begin(), source->result_end());
    else
      rows.insert(norm.getInput());
  }

  // Takes the op in if its rows are the group's and all else can be computed before the group.
  void offer(Operation *op) {
    if (getHeadDim(op) != headDim || (!ops.empty() && isReadBefore(op)))
      return;
    SmallVector<Value> others;
    for (Value operand : op->getOperands()) {
      if (!areRows(operand))
        others.push_back(operand);
      else if (!rows.contains(operand))
        return;
    }
    if (!ops.empty() && failed(moveUp(others, ops.front())))
      return;
    ops.push_back(op);
    rows.insert(op->result_begin(), op->result_end());
  }

  // Whether somebody behind the group's first op reads the cache as it is before this append.
  bool isReadBefore(Operation *op) const {
    auto append = dyn_cast<KvAppendOp>(op);
    return append && llvm::any_of(append.getCache().getUsers(), [&](Operation *user) {
             return user != op && user->getBlock() == op->getBlock() &&
                    ops.front()->isBeforeInBlock(user);
           });
  }
  void fuse();

  int64_t headDim;
  llvm::SetVector<Value> rows; // results of the source and of the ops
  SmallVector<Operation *> ops;
};
} // namespace

void Group::fuse() {
  auto isInside = [&](Operation *op) { return llvm::is_contained(ops, op); };
  llvm::SetVector<Value> inputs, yielded;
  SmallVector<Location> locations;
  for (Operation *op : ops) {
    locations.push_back(op->getLoc());
    for (Value operand : op->getOperands())
      if (areRows(operand) && !isInside(operand.getDefiningOp()))
        inputs.insert(operand);
    for (Value result : op->getResults())
      if (isa<CacheType>(result.getType()) || // of the next step, if of nobody else
          llvm::any_of(result.getUsers(), [&](Operation *user) { return !isInside(user); }))
        yielded.insert(result);
  }
  OpBuilder builder(ops.front());
  Location location = builder.getFusedLoc(locations);
  auto rowwise = builder.create<RowwiseOp>(location, ValueRange(yielded.getArrayRef()).getTypes(),
                                           inputs.getArrayRef());
  Block &body = rowwise.getBody().emplaceBlock();
  for (Value input : inputs)
    input.replaceUsesWithIf(body.addArgument(input.getType(), input.getLoc()),
                            [&](OpOperand &use) { return isInside(use.getOwner()); });
  for (auto [number, value] : llvm::enumerate(yielded.getArrayRef()))
    Value(value).replaceUsesWithIf(rowwise.getResult(number),
                                   [&](OpOperand &use) { return !isInside(use.getOwner()); });
  for (Operation *op : ops)
    op->moveBefore(&body, body.end());
  builder.setInsertionPointToEnd(&body);
  builder.create<YieldOp>(location, yielded.getArrayRef());
}

namespace {
struct FuseHeads : impl::FuseHeadsBase<FuseHeads> {
  void runOnOperation() override {
    for (Block &block : getOperation().getFunctionBody()) {
      SmallVector<HeadNormOp> norms(block.getOps<HeadNormOp>());
      for (HeadNormOp norm : norms) {
        if (norm->getBlock() != &block) // in a group already
          continue;
        Group group(norm);
        for (Operation &op : block)
          if (!isOpTriviallyDead(&op))
            group.offer(&op);
        if (group.ops.size() > 1)
          group.fuse();
      }
    }
  }
};
} // namespace
} // namespace mlir::mk
