// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_DOMAINS_H
#define MK_PASSES_ANALYSIS_DOMAINS_H

#include "dialects/mk_task/MkTask.h"

namespace mlir::mk {

/// What each activation or index value has one row for; weights and caches have none.
using Domains = DenseMap<Value, mk_task::Domain>;

/// Adds the domains of the op's results, and of the values in its regions, to those of its
/// operands, which must be there. Returns the domain in which the op works; fails with an error
/// where rows of both kinds meet.
FailureOr<mk_task::Domain> inferDomain(Operation *op, Domains &domains);

} // namespace mlir::mk

#endif // MK_PASSES_ANALYSIS_DOMAINS_H
