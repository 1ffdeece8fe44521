// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Domains.h"
#include "passes/analysis/Diagnostics.h"

namespace mlir::mk {

using mk_task::Domain;

static FailureOr<Domain> mismatch(Operation *op) {
  return emitModelError(op)
         << "mixes rows of the step's tokens with rows of its logits; expected mk.select_rows "
            "between them";
}

/// The ops of a region in place: `domain` is that of its argument and becomes that of what it
/// yields.
static LogicalResult inferRegion(Region &region, Domain &domain, Domains &domains) {
  if (region.empty())
    return success();
  for (BlockArgument argument : region.getArguments())
    domains[argument] = domain;
  for (Operation &op : region.front()) {
    if (isa<YieldOp>(op) && llvm::all_of(op.getOperandTypes(), llvm::IsaPred<CacheType>))
      continue; // it stores, and returns no rows
    FailureOr<Domain> inner = inferDomain(&op, domains);
    if (failed(inner))
      return failure();
    domain = *inner;
  }
  return success();
}

FailureOr<Domain> inferDomain(Operation *op, Domains &domains) {
  if (auto linear = dyn_cast<LinearOp>(op)) {
    Domain domain = domains.lookup(linear.getInput());
    if (failed(inferRegion(linear.getPrologue(), domain, domains)) ||
        failed(inferRegion(linear.getEpilogue(), domain, domains)))
      return failure();
    for (Value result : op->getResults())
      if (!isa<CacheType>(result.getType()))
        domains[result] = domain;
    return domain;
  }
  if (isa<MoeLinearOp, MoeCombineOp>(op)) {
    Domain domain = domains.lookup(op->getOperand(0)); // the route, as what the epilogue reads
    if (domains.lookup(op->getOperand(1)) != domain)
      return mismatch(op);
    if (failed(inferRegion(op->getRegion(0), domain, domains)))
      return failure();
    domains[op->getResult(0)] = domain;
    return domain;
  }
  if (auto rowwise = dyn_cast<RowwiseOp>(op)) {
    Domain domain = domains.lookup(rowwise.getInputs().front());
    for (Value input : rowwise.getInputs())
      if (domains.lookup(input) != domain)
        return mismatch(op);
    if (failed(inferRegion(rowwise.getBody(), domain, domains)))
      return failure();
    for (Value result : op->getResults())
      if (!isa<CacheType>(result.getType()))
        domains[result] = domain;
    return domain;
  }
  std::optional<Domain> domain;
  if (auto select = dyn_cast<SelectRowsOp>(op)) {
    if (domains.lookup(select.getInput()) != Domain::tokens ||
        domains.lookup(select.getRows()) != Domain::rows)
      return emitModelError(op) << "expected rows of tokens, chosen by @rows";
    domain = Domain::rows;
  } else {
    for (Value operand : op->getOperands()) {
      auto found = domains.find(operand);
      if (found == domains.end())
        continue;
      if (domain && *domain != found->second)
        return mismatch(op);
      domain = found->second;
    }
  }
  if (!domain)
    return emitModelError(op) << "expected an operand that has rows";
  if (auto attend = dyn_cast<AttendOp>(op)) {
    Domain inside = *domain;
    if (failed(inferRegion(attend.getPrologue(), inside, domains)))
      return failure();
  }
  for (Value result : op->getResults())
    if (!isa<CacheType>(result.getType()))
      domains[result] = *domain;
  return *domain;
}

} // namespace mlir::mk
