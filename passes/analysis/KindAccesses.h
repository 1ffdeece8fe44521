// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_ANALYSIS_KINDACCESSES_H
#define MK_PASSES_ANALYSIS_KINDACCESSES_H

#include "dialects/mk_task/MkTask.h"
#include "passes/analysis/Columns.h"
#include <map>

namespace mlir::mk_task {

/// The columns of a buffer, cache or value of the type: those of the keys, then of the values.
int64_t getWidth(Type type);

/// Derives what a range of units of one kind touches. `available` goes forward from the
/// accumulators to the columns of a value that the units can compute; `demand` goes back from the
/// columns that they write to those that they read. An op without a rule reads its operands whole.
class KindAccesses {
public:
  KindAccesses(KindOp kind, ColumnSet unitColumns)
      : body(kind.getBody().front()), units(std::move(unitColumns)) {}

  void read(Value value, const ColumnSet &columns) { demand(value, columns); }
  void readWhole(Value value) { demand(value, whole(value)); }
  void write(unsigned result, ColumnSet columns) {
    ColumnSet &set = writes[body.getNumArguments() + result];
    set = unite(set, columns);
  }
  static ColumnSet whole(Value value) { return {{0, getWidth(value.getType())}}; }

  void tiles();
  void experts();
  void columns();
  void attend(int64_t begin, int64_t end, int64_t units);
  void serial();

  bool shares = false;
  std::map<unsigned, ColumnSet> reads, writes;

private:
  ColumnSet available(Value value);
  void demand(Value value, const ColumnSet &columns);

  Block &body;
  ColumnSet units;
  Value accumulators;
};

} // namespace mlir::mk_task

#endif // MK_PASSES_ANALYSIS_KINDACCESSES_H
