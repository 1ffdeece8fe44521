// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a step does depends on its data: the reduction over its rows that a predicate is made of, by
// one CTA in the order of the rows; the choice between two sides; and what is left of a task that
// is passed over.
#include "passes/gpu/GpuEmitter.h"
#include "passes/gpu/TaskConditions.h"

using namespace mlir;
using namespace mlir::mk;

/// A thread for each column, which has the loads of all rows under way together.
void GpuEmitter::emitAcrossRows(AcrossRowsOp op) {
  clearRows();
  const Memory &input = memoryOf(op.getInput());
  Value count = rowCount(), last = b.sub(count, b.index(1));
  StringRef how = op.getHow();
  double infinity = std::numeric_limits<double>::infinity();
  double first = how == "max" ? -infinity : how == "min" ? infinity : 0.0;
  auto join = [&](Value a, Value x) -> Value {
    if (how == "max")
      return b.create<arith::MaximumFOp>(a, x);
    if (how == "min")
      return b.create<arith::MinimumFOp>(a, x);
    return b.fadd(a, x);
  };
  b.loop(thread, b.index(input.columns()), b.index(kConsumers), [&](Value column) {
    auto loadAll = [&] { // the last row stands for those that do not exist
      SmallVector<Value> rows;
      for (int64_t row = 0; row < most; ++row)
        rows.push_back(load(input, b.min(b.index(row), last), column));
      return rows;
    };
    Value total = b.constant(f32(), first);
    for (auto [row, x] : llvm::enumerate(whenWritten(loadAll, /*together=*/false)))
      total = b.select(b.less(b.index(row), count), join(total, x), total);
    if (how == "mean")
      total = b.fdiv(total, b.create<arith::SIToFPOp>(f32(), b.toI32(count)));
    b.loop(b.index(0), count, b.index(1),
           [&](Value row) { store(total, *outputs[0].memory, row, column); });
  });
}

/// Only the rows of the side that is taken are looked at: nobody may ever write the others.
Value GpuEmitter::pullChoose(ChooseOp op, Value row, Column column) {
  assert(!loads && "what is loaded depends on what has been loaded");
  Value number = load(memoryOf(op.getPredicate()), row, b.index(0));
  Value taken = b.create<arith::CmpFOp>(arith::CmpFPredicate::UNE, number, b.constant(f32(), 0.0));
  return b.choose(
      f32(), taken, [&] { return pull(op.getTaken(), row, column); },
      [&] { return pull(op.getOther(), row, column); });
}

bool mk::clearsWhenPassed(mk_task::ProgramOp program, mk_task::KindOp kind) {
  if (!TaskConditions::mayPass(program, kind))
    return false;
  for (auto family : program.getOps<mk_task::FamilyOp>())
    if (family.getKind() == kind.getSymName()) // of all families alike
      return llvm::any_of(family.getOutputs(), [&](Attribute name) {
        auto buffer = dyn_cast_or_null<mk_task::BufferOp>(
            SymbolTable::lookupSymbolIn(program, cast<FlatSymbolRefAttr>(name)));
        return buffer && buffer.getFlagged();
      });
  return false;
}

std::string mk::getPassedName(mk_task::KindOp kind) {
  return (kind.getSymName() + ".passed").str();
}

/// What the task wrote of flagged words in the step before is taken back whether it runs or not:
/// the next step uses their copy again, and may run it, or read what the other side writes there.
LogicalResult GpuEmitter::emitPassed() {
  if (failed(bindOperands()))
    return failure();
  Operation *anchor = kind.getAnchor();
  if (isa<AttendOp>(anchor)) {
    AttendItems items(b, kind, options, most);
    Value begin = field("begin"), width = b.sub(field("end"), begin);
    clearItems(items, *outputs[0].memory, begin, width);
  } else if (isa<MoeLinearOp>(anchor)) {
    clearRanks();
  } else if (kind.getKindClass() == mk_task::KindClass::serial) {
    clearRows();
  } else {
    clearUnits();
  }
  return success();
}
