// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/RingSlice.h"

#include "dialects/mk_cta/MkCta.h"

using namespace mlir;
using namespace mlir::mk;

bool mk::usesRing(Operation *op) {
  if (auto await = dyn_cast<mk_cta::RingAwaitOp>(op))
    return await.getWhat() != mk_cta::RingWait::landed;
  return isa<mk_cta::RingFillOp, mk_cta::RingCopyOp, mk_cta::RingAnnounceOp, mk_cta::RingHoldsOp,
             mk_cta::RingReleaseOp>(op);
}

RingSlice::RingSlice(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>())
    functions[function.getName()] = function;
  module.walk([&](func::CallOp op) {
    if (func::FuncOp function = callee(op))
      calls[function].push_back(op);
  });
  SmallVector<Operation *> found;
  for (auto function : module.getOps<func::FuncOp>())
    function.walk([&](Operation *op) {
      if (usesRing(op))
        found.push_back(op);
    });
  SmallVector<Operation *> around(found);
  while (!around.empty()) {
    Operation *op = around.pop_back_val();
    if (!op || isa<ModuleOp>(op) || !users.insert(op).second)
      continue;
    if (isa<func::FuncOp>(op))
      llvm::append_range(around, calls.lookup(op));
    else
      around.push_back(op->getParentOp());
  }
  for (Operation *op : found)
    add(op);
  while (!pending.empty())
    follow(pending.pop_back_val());
  for (auto function : module.getOps<func::FuncOp>())
    function.walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (ops.contains(op))
        blocks[op->getBlock()].push_back(op);
    });
}

ArrayRef<Operation *> RingSlice::of(Block *block) const {
  auto found = blocks.find(block);
  return found == blocks.end() ? ArrayRef<Operation *>() : ArrayRef(found->second);
}

/// The operation, its control flow, and what decides on that.
void RingSlice::add(Operation *op) {
  if (!op || isa<ModuleOp>(op) || !ops.insert(op).second)
    return;
  if (isa<func::FuncOp>(op)) {
    for (func::CallOp call : calls.lookup(op))
      add(call);
    return;
  }
  if (auto loop = dyn_cast<scf::ForOp>(op))
    addAll({loop.getLowerBound(), loop.getUpperBound(), loop.getStep()});
  else if (auto loop = dyn_cast<scf::WhileOp>(op))
    add(loop.getConditionOp().getCondition());
  else if (isa<scf::IfOp, scf::IndexSwitchOp>(op))
    add(op->getOperand(0));
  else if (auto release = dyn_cast<mk_cta::RingReleaseOp>(op)) {
    add(release.getSlot()); // what it follows on decides nothing
    if (release.getExists())
      add(release.getExists());
  } else if (!isa<func::CallOp>(op))
    addAll(op->getOperands());
  add(op->getParentOp());
}

void RingSlice::add(Value value) {
  if (values.insert(value).second)
    pending.push_back(value);
}

/// What a value comes from.
void RingSlice::follow(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    op = cast<BlockArgument>(value).getOwner()->getParentOp();
  add(op);
  auto argument = dyn_cast<BlockArgument>(value);
  unsigned number = argument ? argument.getArgNumber() : cast<OpResult>(value).getResultNumber();
  if (auto function = dyn_cast<func::FuncOp>(op)) {
    for (func::CallOp call : calls.lookup(function))
      add(call.getOperand(number));
  } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
    if (argument && number == 0)
      return; // the bounds are there
    number -= argument ? 1 : 0;
    addAll({loop.getInitArgs()[number], loop.getBody()->getTerminator()->getOperand(number),
            loop.getRegionIterArgs()[number]});
  } else if (auto loop = dyn_cast<scf::WhileOp>(op)) {
    if (argument && argument.getOwner() == loop.getBeforeBody())
      addAll({loop.getInits()[number], loop.getYieldOp()->getOperand(number)});
    else
      add(loop.getConditionOp().getArgs()[number]);
  } else if (isa<scf::IfOp, scf::IndexSwitchOp>(op)) {
    for (Region &region : op->getRegions())
      if (!region.empty())
        add(region.front().getTerminator()->getOperand(number));
  } else if (auto call = dyn_cast<func::CallOp>(op)) {
    if (func::FuncOp function = callee(call); function && !function.isExternal())
      add(function.getBody().front().getTerminator()->getOperand(number));
  }
}
