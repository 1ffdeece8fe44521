// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/plan/Names.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

namespace mlir::mk {

std::string describe(Operation *op) {
  llvm::SetVector<StringRef> words;
  // Slices are addressing: a name is shorter without them.
  auto add = [&](Operation *part) {
    if (part == op || !isa<SliceOp, YieldOp>(part))
      words.insert(part->getName().stripDialect());
  };
  if (auto rowwise = dyn_cast<RowwiseOp>(op)) {
    rowwise.getBody().walk(add);
    return llvm::join(words, "_");
  }
  if (auto linear = dyn_cast<LinearOp>(op))
    linear.getPrologue().walk(add);
  add(op);
  if (multiplies(op))
    op->getRegions().back().walk(add);
  return llvm::join(words, "_");
}

std::string joinNames(ArrayRef<StringRef> names) {
  StringRef first = names.front();
  if (llvm::all_equal(names))
    return first.str();
  size_t prefix = first.size();
  for (StringRef name : names)
    prefix = std::min<size_t>(
        prefix,
        std::mismatch(first.begin(), first.end(), name.begin(), name.end()).first - first.begin());
  prefix = first.take_front(prefix).rfind('.') + 1; // whole path components; 0 if there is none
  size_t suffix = first.size() - prefix;
  for (StringRef name : names) {
    size_t same = 0, most = std::min(suffix, name.size() - prefix);
    while (same < most && name[name.size() - 1 - same] == first[first.size() - 1 - same])
      ++same;
    suffix = same;
  }
  size_t dot = first.take_back(suffix).find('.');
  suffix = dot == StringRef::npos ? 0 : suffix - dot;
  std::string joined = first.take_front(prefix).str();
  llvm::interleave(
      names, [&](StringRef name) { joined += name.drop_front(prefix).drop_back(suffix); },
      [&] { joined += "_"; });
  return joined + first.take_back(suffix).str();
}

StringAttr Names::unique(StringRef name, StringRef otherwise) {
  if (uses.try_emplace(name, 0).second)
    return StringAttr::get(context, name);
  if (name != otherwise && uses.try_emplace(otherwise, 0).second)
    return StringAttr::get(context, otherwise);
  while (true) {
    std::string numbered = (otherwise + "_" + Twine(++uses[otherwise])).str();
    if (uses.try_emplace(numbered, 0).second)
      return StringAttr::get(context, numbered);
  }
}

} // namespace mlir::mk
