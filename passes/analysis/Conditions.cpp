// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Conditions.h"
#include "dialects/mk_task/MkTask.h"
#include "mlir/Transforms/RegionUtils.h"

namespace mlir::mk {

/// How many conditions there is room for in an instruction, beside what the op reads and writes.
static size_t countRoom(Operation *op) {
  llvm::SetVector<Value> captured;
  captured.insert(op->operand_begin(), op->operand_end());
  getUsedValuesDefinedAbove(op->getRegions(), captured);
  int64_t free = mk_task::kMaxOperands - captured.size() - op->getNumResults();
  return std::clamp<int64_t>(free, 0, mk_task::kMaxConditions);
}

/// The sides under which the operand of `user` is needed, given those of `user`.
static SmallVector<Side, 2> getSidesOfUse(OpOperand &use, ArrayRef<Side> ofUser) {
  SmallVector<Side, 2> result(ofUser);
  auto choose = dyn_cast<ChooseOp>(use.getOwner());
  if (!choose || use.getOperandNumber() == 0)
    return result;
  Side side = {choose.getPredicate(), use.getOperandNumber() == 1};
  if (llvm::none_of(result, [&](Side &s) { return s.predicate == side.predicate; }))
    result.push_back(side);
  return result;
}

SmallVector<Side, 2> Conditions::find(Operation *op, Block &block, bool inOrder) const {
  std::optional<SmallVector<Side, 2>> common;
  auto keep = [&](ArrayRef<Side> needed) {
    if (common)
      llvm::erase_if(*common, [&](Side &side) { return !llvm::is_contained(needed, side); });
    else
      common.emplace(needed);
  };
  for (Value result : op->getResults()) {
    for (OpOperand &use : result.getUses())
      keep(getSidesOfUse(use, of(block.findAncestorOpInBlock(*use.getOwner()))));
    for (Operation *user : asked.lookup(result))
      keep(of(user));
  }
  if (!common)
    return {}; // it has an effect, or nobody needs it
  // Nobody can ask for what comes later.
  llvm::erase_if(*common, [&](Side &side) {
    Operation *maker = side.predicate.getDefiningOp();
    return !maker || maker->getBlock() != &block || (inOrder && !maker->isBeforeInBlock(op));
  });
  common->truncate(std::min(common->size(), countRoom(op)));
  return *common;
}

Conditions::Conditions(Block &block, bool inOrder) {
  if (block.getOps<ChooseOp>().empty())
    return;
  for (Operation &op : llvm::reverse(block)) {
    SmallVector<Side, 2> found = find(&op, block, inOrder);
    for (Side &side : found)
      asked[side.predicate].push_back(&op);
    if (!found.empty())
      sides[&op] = std::move(found);
  }
}

void moveDecisionsUp(Block &block) {
  if (block.getOps<ChooseOp>().empty())
    return;
  // No circle: what a predicate needs is needed whatever side is taken, so it is not under one.
  Conditions conditions(block, /*inOrder=*/false);
  llvm::SetVector<Operation *> sorted;
  auto visit = [&](Operation *op, auto &visit) -> void {
    if (sorted.contains(op))
      return;
    llvm::SetVector<Value> needed;
    needed.insert(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), needed);
    for (const Side &side : conditions.of(op))
      needed.insert(side.predicate);
    for (Value value : needed)
      if (Operation *maker = value.getDefiningOp(); maker && maker->getBlock() == &block)
        visit(maker, visit);
    sorted.insert(op);
  };
  for (Operation &op : block.without_terminator())
    visit(&op, visit);
  for (Operation *op : sorted)
    op->moveBefore(block.getTerminator());
}

bool isEqualInAllRows(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  if (isa<AcrossRowsOp, WeightOp>(op))
    return true;
  if (auto generic =
          dyn_cast<GenericOp>(op)) // what it does not read only says how many rows there are
    return llvm::all_of(llvm::enumerate(generic->getOperands()), [&](auto operand) {
      return generic.getBody().getArgument(operand.index()).use_empty() ||
             isEqualInAllRows(operand.value());
    });
  return (isElementwise(op) || isa<SliceOp, ChooseOp>(op)) &&
         llvm::all_of(op->getOperands(), isEqualInAllRows);
}

} // namespace mlir::mk
