// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Table.h"

namespace mlir::mk_task {

std::string Table::describe(const Instruction &instruction) const {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (instruction.hasBody()) {
    FamilyOp family = getFamily(instruction);
    os << "task '" << family.getSymName() << "' units [" << instruction.begin << ", "
       << instruction.end << ") on worker " << instruction.worker;
    if (std::string path = mk::getModulePath(family); !path.empty() && path != family.getSymName())
      os << " (" << path << ")";
  } else {
    os << "a wait on worker " << instruction.worker;
  }
  return text;
}

Location Table::getLoc(const Instruction &instruction) const {
  return instruction.hasBody() ? getFamily(instruction).getLoc() : TableOp(op).getLoc();
}

template <typename OpTy>
static LogicalResult resolve(TableOp table, ArrayAttr names, StringRef what,
                             const AccessAnalysis &analysis, SmallVectorImpl<OpTy> &ops) {
  for (auto name : names.getAsRange<FlatSymbolRefAttr>()) {
    ops.push_back(dyn_cast_or_null<OpTy>(analysis.lookup(name.getValue())));
    if (!ops.back())
      return table.emitError("expected the name of ") << what << ", found " << name;
  }
  return success();
}

static LogicalResult decodeInstruction(ArrayRef<int32_t> words, Table &table, size_t kinds,
                                       Instruction &instruction,
                                       function_ref<InFlightDiagnostic()> error) {
  auto inRange = [&](StringRef what, int64_t value, int64_t begin, int64_t end) -> LogicalResult {
    if (value >= begin && value < end)
      return success();
    return error() << "expected " << what << " in [" << begin << ", " << end << "), found "
                   << value;
  };
  int64_t events = table.events.size();
  instruction.kind = words[field_kind];
  instruction.family = words[field_family];
  instruction.begin = words[field_begin];
  instruction.end = words[field_end];
  instruction.signal = words[field_signal];
  instruction.stream = words[field_stream];
  instruction.operands = words.slice(field_operand, kMaxOperands);
  instruction.signalsHint = words[field_hints] & 1;
  for (int64_t i = 0; i < kMaxConditions; ++i)
    if (int32_t bits = words[field_hints] >> (kConditionBit + 2 * i); bits & 1)
      instruction.conditions.push_back({words[field_operand + getConditionWord(i)], bits & 2});
  if (instruction.hasBody() &&
      (failed(inRange("a kind", instruction.kind, 0, kinds)) ||
       failed(inRange("a family", instruction.family, 0, table.families.size()))))
    return failure();
  if (failed(inRange("a number of waits", words[field_waits], 0, kMaxWaits + 1)) ||
      failed(inRange("a signalled event or -1", instruction.signal, -1, events)))
    return failure();
  bool hint = instruction.signal >= 0 && table.events[instruction.signal].getHint();
  if (instruction.signalsHint != hint)
    return error() << "expected a signal that is " << (hint ? "" : "not ") << "of a hint";
  for (int i = 0; i < words[field_waits]; ++i) {
    Instruction::Wait wait = {words[field_wait_event + i], words[field_wait_arrivals + i],
                              words[field_wait_lag + i], bool(words[field_hints] >> (i + 1) & 1)};
    if (failed(inRange("an awaited event", wait.event, 0, events)) ||
        failed(inRange("a lag", wait.lag, 0, 2)))
      return failure();
    if (wait.hint && !table.events[wait.event].getHint())
      return error() << "waits for event '" << table.events[wait.event].getSymName()
                     << "' as for a hint, which it is not";
    if (!wait.hint && table.events[wait.event].getHint())
      return error() << "waits for event '" << table.events[wait.event].getSymName()
                     << "' to order memory, but it is a hint";
    instruction.waits.push_back(wait);
  }
  return success();
}

FailureOr<Table> Table::decode(TableOp op, const AccessAnalysis &analysis) {
  Table table;
  table.op = op;
  table.workers = op.getCounts().size();
  SmallVector<KindOp> kinds;
  if (failed(resolve(op, op.getKinds(), "a kind", analysis, kinds)) ||
      failed(resolve(op, op.getFamilies(), "a family", analysis, table.families)) ||
      failed(resolve(op, op.getEvents(), "an event", analysis, table.events)))
    return failure();
  auto values = op.getWords().tryGetValues<int32_t>();
  if (!values)
    return op.emitError("expected words that can be read, found ") << op.getWords().getType();
  table.words.assign(values->begin(), values->end());

  int64_t rows = cast<ShapedType>(op.getWords().getType()).getDimSize(1);
  for (int worker = 0; worker < table.workers; ++worker)
    for (int64_t i = 0; i < rows; ++i) {
      auto error = [&] {
        return op.emitError("instruction ") << i << " of worker " << worker << ": ";
      };
      ArrayRef<int32_t> words =
          ArrayRef(table.words).slice((worker * rows + i) * kInstructionWords, kInstructionWords);
      if (i >= op.getCounts()[worker]) {
        if (words[field_kind] != kEndOfList)
          return error() << "expected kind " << kEndOfList << " behind the last instruction, found "
                         << words[field_kind];
        continue;
      }
      Instruction instruction = {};
      instruction.worker = worker;
      if (failed(decodeInstruction(words, table, kinds.size(), instruction, error)))
        return failure();
      if (instruction.hasBody()) {
        FamilyOp family = table.getFamily(instruction);
        if (analysis.getKind(family) != kinds[instruction.kind])
          return error() << "expected kind '" << family.getKind() << "' of family '"
                         << family.getSymName() << "', found '"
                         << kinds[instruction.kind].getSymName() << "'";
        if (instruction.begin < 0 || instruction.end <= instruction.begin)
          return error() << "expected a range of units of family '" << family.getSymName()
                         << "', found [" << instruction.begin << ", " << instruction.end << ")";
      }
      table.instructions.push_back(std::move(instruction));
    }
  return FailureOr<Table>(std::move(table));
}

} // namespace mlir::mk_task
