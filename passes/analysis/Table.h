// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_TABLE_H
#define MK_PASSES_ANALYSIS_TABLE_H

#include "passes/analysis/Access.h"

namespace mlir::mk_task {

/// One instruction of a table, as its words say it.
struct Instruction {
  struct Wait {
    int32_t event, arrivals, lag;
    bool hint;
  };
  int worker;
  int32_t kind, family, begin, end, signal, stream;
  bool signalsHint;
  SmallVector<Wait, 3> waits;
  SmallVector<std::pair<int32_t, bool>, 1> conditions; // the word of the buffer, and the side
  ArrayRef<int32_t> operands;

  /// Without one it only waits: for what did not fit into the worker's next instruction.
  bool hasBody() const { return kind != kOnlyWaits; }
};

/// The instructions of a table, worker by worker in program order, with all numbers in their
/// ranges.
struct Table {
  /// Fails, with an error, on a word that names nothing. `analysis` knows the program of the table.
  static FailureOr<Table> decode(TableOp op, const AccessAnalysis &analysis);

  /// "task 'f' units [0, 9) on worker 1 (model.layers.0.mlp)"
  std::string describe(const Instruction &instruction) const;
  /// Where to report: the family, or the table.
  Location getLoc(const Instruction &instruction) const;
  FamilyOp getFamily(const Instruction &instruction) const { return families[instruction.family]; }

  TableOp op;
  int workers;
  std::vector<int32_t> words;
  std::vector<Instruction> instructions;
  SmallVector<FamilyOp> families;
  SmallVector<EventOp> events;
};

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_TABLE_H
