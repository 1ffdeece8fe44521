// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_PLAN_NAMES_H
#define MK_PASSES_PLAN_NAMES_H

#include "dialects/mk/Mk.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::mk {

/// What an op computes, fused work included, as one word: rms_norm_linear_rope_kv_append.
std::string describe(Operation *op);

/// One name for matrices stored as one: a.q_proj.weight and a.k_proj.weight are
/// a.q_proj_k_proj.weight.
std::string joinNames(ArrayRef<StringRef> names);

/// The symbols of a program.
class Names {
public:
  explicit Names(MLIRContext *context) : context(context) {}
  /// `name`, or if that is taken `otherwise`, or that with a number.
  StringAttr unique(StringRef name, StringRef otherwise);
  StringAttr unique(StringRef name) { return unique(name, name); }

private:
  MLIRContext *context;
  llvm::StringMap<int64_t> uses;
};

} // namespace mlir::mk

#endif // MK_PASSES_PLAN_NAMES_H
