// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "passes/Passes.h"

namespace mlir::mk {
#define GEN_PASS_DEF_BUILDTABLE
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {

using Instruction = std::array<int32_t, kInstructionWords>;

/// Declarations of one sort in the order of their numbers.
struct Numbered {
  SmallVector<Attribute> names;
  DenseMap<Attribute, int32_t> numbers;

  void add(SymbolOpInterface op) {
    Attribute name = FlatSymbolRefAttr::get(op.getNameAttr());
    numbers[name] = names.size();
    names.push_back(name);
  }
};

struct TableBuilder {
  explicit TableBuilder(ProgramOp program, TargetAttr target);
  LogicalResult append(TaskOp task);
  void create();

private:
  FailureOr<int32_t> encodePlace(FamilyOp family, Attribute name, bool streamed);
  LogicalResult encodeOperands(FamilyOp family, KindOp kind, Instruction &instruction);

  ProgramOp program;
  int64_t streamUnit; // bytes
  Numbered kinds, families, events;
  DenseMap<Attribute, Operation *> declarations;
  SmallVector<std::vector<Instruction>> workers;
};

} // namespace

TableBuilder::TableBuilder(ProgramOp program, TargetAttr target)
    : program(program), streamUnit(getStreamUnit(target.getLanes())), workers(target.getWorkers()) {
  for (auto symbol : program.getBody().getOps<SymbolOpInterface>()) {
    declarations[FlatSymbolRefAttr::get(symbol.getNameAttr())] = symbol;
    if (isa<KindOp>(symbol))
      kinds.add(symbol);
    else if (isa<FamilyOp>(symbol))
      families.add(symbol);
    else if (isa<EventOp>(symbol))
      events.add(symbol);
  }
}

/// The word by which the code of a kind finds what `name` stands for.
FailureOr<int32_t> TableBuilder::encodePlace(FamilyOp family, Attribute name, bool streamed) {
  Operation *declaration = declarations[name];
  if (auto cache = dyn_cast<CacheOp>(declaration))
    return int32_t(cache.getLayer());
  if (streamed)
    return 0;
  auto buffer = dyn_cast<BufferOp>(declaration);
  std::optional<uint64_t> offset =
      buffer ? buffer.getOffset() : cast<mk_task::WeightOp>(declaration).getOffset();
  if (!offset)
    return family.emitOpError() << family.getSymNameAttr() << " expected an offset on " << name
                                << "; run mk-plan-memory and mk-plan-weights first";
  if (*offset / kAlignment > uint64_t(INT32_MAX))
    return family.emitOpError() << family.getSymNameAttr() << ": offset " << *offset << " of "
                                << name << " is too large for an instruction";
  return int32_t(*offset / kAlignment);
}

LogicalResult TableBuilder::encodeOperands(FamilyOp family, KindOp kind, Instruction &instruction) {
  Value tiles = kind.getStreamed();
  SmallVector<int32_t> words;
  for (auto [name, argument] : llvm::zip(family.getOperands(), kind.getBody().getArguments())) {
    FailureOr<int32_t> word = encodePlace(family, name, argument == tiles);
    if (failed(word))
      return failure();
    words.push_back(*word);
  }
  for (Attribute name : family.getOutputs()) {
    if (!isa<BufferOp>(declarations[name]))
      continue;
    FailureOr<int32_t> word = encodePlace(family, name, /*streamed=*/false);
    if (failed(word))
      return failure();
    words.push_back(*word);
  }
  if (words.size() > size_t(kMaxOperands))
    return family.emitOpError() << family.getSymNameAttr() << " has " << words.size()
                                << " operands and results; an instruction holds " << kMaxOperands;
  llvm::copy(words, instruction.begin() + field_operand);
  ArrayAttr conditions = family.getConditionsAttr();
  if (!conditions)
    return success();
  if (words.size() + conditions.size() > size_t(kMaxOperands))
    return family.emitOpError() << family.getSymNameAttr() << " has " << words.size()
                                << " operands and results and " << conditions.size()
                                << " conditions; an instruction holds " << kMaxOperands;
  for (auto [i, condition] : llvm::enumerate(conditions.getAsRange<ConditionAttr>())) {
    FailureOr<int32_t> word = encodePlace(family, condition.getBuffer(), /*streamed=*/false);
    if (failed(word))
      return failure();
    instruction[field_operand + getConditionWord(i)] = *word;
    instruction[field_hints] |= (1 + 2 * condition.getTaken()) << (kConditionBit + 2 * i);
  }
  return success();
}

LogicalResult TableBuilder::append(TaskOp task) {
  auto family = cast<FamilyOp>(declarations[task.getFamilyAttr()]);
  auto kind = cast<KindOp>(declarations[family.getKindAttr()]);
  if (task.getSignals().size() > 1)
    return task.emitOpError() << "of " << task.getFamilyAttr() << " signals "
                              << task.getSignals().size()
                              << " events; an instruction signals at most one";
  if (kind.getStreamed() && !task.getStreamOffset())
    return task.emitOpError() << "of " << task.getFamilyAttr()
                              << " expected a stream; run mk-plan-weights first";
  Instruction instruction{};
  instruction[field_kind] = kinds.numbers[family.getKindAttr()];
  instruction[field_family] = families.numbers[task.getFamilyAttr()];
  instruction[field_begin] = task.getBegin();
  instruction[field_end] = task.getEnd();
  instruction[field_signal] = task.getSignals().empty() ? -1 : events.numbers[task.getSignals()[0]];
  int64_t offset = task.getStreamOffset().value_or(0), perUnit = streamUnit / kAlignment;
  if (offset % perUnit)
    return task.emitOpError() << "of " << task.getFamilyAttr()
                              << " expected a stream offset that is a multiple of " << perUnit
                              << ", found " << offset;
  if (offset / perUnit > INT32_MAX)
    return task.emitOpError() << "of " << task.getFamilyAttr()
                              << " expected a stream offset below 2^31 units of " << streamUnit
                              << " bytes, found " << offset / perUnit;
  instruction[field_stream] = offset / perUnit;
  if (failed(encodeOperands(family, kind, instruction)))
    return failure();

  SmallVector<std::pair<Attribute, int32_t>> waits; // event and lag
  for (Attribute event : task.getWaits())
    waits.push_back({event, 0});
  for (Attribute event : task.getPrevious())
    waits.push_back({event, 1});
  if (auto hints = task.getHints())
    for (Attribute event : *hints)
      waits.push_back({event, 0});
  auto isHint = [&](Attribute event) { return cast<EventOp>(declarations[event]).getHint(); };
  if (!task.getSignals().empty() && isHint(task.getSignals()[0]))
    instruction[field_hints] |= 1;
  std::vector<Instruction> &list = workers[task.getWorker()];
  for (ArrayRef<std::pair<Attribute, int32_t>> rest = waits;; rest = rest.drop_front(kMaxWaits)) {
    bool last = rest.size() <= size_t(kMaxWaits);
    Instruction next{};
    next[field_kind] = kOnlyWaits;
    next[field_family] = instruction[field_family];
    next[field_signal] = -1;
    if (last)
      next = instruction;
    ArrayRef<std::pair<Attribute, int32_t>> now = rest.take_front(kMaxWaits);
    next[field_waits] = now.size();
    for (auto [i, wait] : llvm::enumerate(now)) {
      next[field_wait_event + i] = events.numbers[wait.first];
      next[field_wait_arrivals + i] = cast<EventOp>(declarations[wait.first]).getArrivals();
      next[field_wait_lag + i] = wait.second;
      if (isHint(wait.first))
        next[field_hints] |= 2 << i;
    }
    list.push_back(next);
    if (last)
      return success();
  }
}

void TableBuilder::create() {
  size_t longest = 0;
  SmallVector<int64_t> counts;
  for (const std::vector<Instruction> &list : workers) {
    counts.push_back(list.size());
    longest = std::max(longest, list.size());
  }
  Instruction end{};
  end[field_kind] = kEndOfList;
  end[field_signal] = -1;
  std::vector<int32_t> words;
  words.reserve(workers.size() * (longest + 1) * kInstructionWords);
  for (std::vector<Instruction> &list : workers) {
    list.resize(longest + 1, end);
    for (const Instruction &instruction : list)
      words.insert(words.end(), instruction.begin(), instruction.end());
  }
  OpBuilder builder = OpBuilder::atBlockEnd(&program.getBody().front());
  auto type = RankedTensorType::get(
      {int64_t(workers.size()), int64_t(longest + 1), kInstructionWords}, builder.getI32Type());
  builder.create<TableOp>(program.getLoc(), DenseElementsAttr::get(type, ArrayRef<int32_t>(words)),
                          builder.getDenseI64ArrayAttr(counts), builder.getArrayAttr(kinds.names),
                          builder.getArrayAttr(families.names), builder.getArrayAttr(events.names));
}

namespace {
struct BuildTable : impl::BuildTableBase<BuildTable> {
  void runOnOperation() override {
    TargetAttr target = requireTarget(getOperation());
    if (!target)
      return signalPassFailure();
    for (auto program : getOperation().getOps<ProgramOp>()) {
      TableBuilder table(program, target);
      for (auto task : program.getBody().getOps<TaskOp>())
        if (failed(table.append(task)))
          return signalPassFailure();
      table.create();
    }
  }
};
} // namespace
} // namespace mlir::mk
