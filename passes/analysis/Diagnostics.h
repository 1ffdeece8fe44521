// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_DIAGNOSTICS_H
#define MK_PASSES_ANALYSIS_DIAGNOSTICS_H

#include "dialects/mk/Mk.h"

namespace mlir::mk {

/// An error about an op of the model that names the module it came from, if the importer said so.
inline InFlightDiagnostic emitModelError(Operation *op) {
  std::string path = getModulePath(op);
  InFlightDiagnostic diagnostic = op->emitOpError();
  if (!path.empty())
    diagnostic << "of \"" << path << "\" ";
  return diagnostic;
}

} // namespace mlir::mk

#endif // MK_PASSES_ANALYSIS_DIAGNOSTICS_H
