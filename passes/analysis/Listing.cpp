// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Listing.h"

namespace mlir::mk {

using namespace mk_task;

static StringRef getName(ArrayAttr names, int32_t number) {
  // The words are data: a number that stands for nothing is shown, not trusted.
  if (number < 0 || size_t(number) >= names.size())
    return "?";
  return cast<FlatSymbolRefAttr>(names[number]).getValue();
}

static void printInstruction(ArrayRef<int32_t> words, TableOp table, raw_ostream &os) {
  int32_t kind = words[field_kind];
  if (kind == kOnlyWaits) {
    os << "(waits for " << getName(table.getFamilies(), words[field_family]) << ")";
  } else {
    StringRef kindName = getName(table.getKinds(), kind);
    os << kindName << "  " << getName(table.getFamilies(), words[field_family]) << "  units ["
       << words[field_begin] << ", " << words[field_end] << ")";
    auto op = cast<ProgramOp>(table->getParentOp()).lookupSymbol<KindOp>(kindName);
    if (op && op.getStreamed())
      os << "  stream " << words[field_stream];
    auto family = cast<ProgramOp>(table->getParentOp())
                      .lookupSymbol<FamilyOp>(getName(table.getFamilies(), words[field_family]));
    if (ArrayAttr conditions = family ? family.getConditionsAttr() : ArrayAttr())
      for (auto condition : conditions.getAsRange<ConditionAttr>())
        os << "  if " << (condition.getTaken() ? "" : "not ") << condition.getBuffer().getValue();
  }
  for (int64_t i = 0; i < std::min<int64_t>(words[field_waits], kMaxWaits); ++i)
    os << (i ? ", " : "  wait ") << (words[field_hints] >> (i + 1) & 1 ? "hint " : "")
       << getName(table.getEvents(), words[field_wait_event + i]) << " x "
       << words[field_wait_arrivals + i]
       << (words[field_wait_lag + i] ? " of the step before" : "");
  if (words[field_signal] >= 0)
    os << "  signal " << getName(table.getEvents(), words[field_signal]);
}

void printListing(TableOp table, raw_ostream &os) {
  auto words = llvm::to_vector(table.getWords().getValues<int32_t>());
  int64_t length = cast<RankedTensorType>(table.getWords().getType()).getDimSize(1);
  for (auto [worker, count] : llvm::enumerate(table.getCounts())) {
    os << "worker " << worker << ": " << count
       << (count == 1 ? " instruction\n" : " instructions\n");
    for (int64_t i = 0; i < count; ++i) {
      os << "  " << i << "  ";
      ArrayRef<int32_t> all = words;
      printInstruction(all.slice((worker * length + i) * kInstructionWords, kInstructionWords),
                       table, os);
      os << "\n";
    }
  }
}

} // namespace mlir::mk
