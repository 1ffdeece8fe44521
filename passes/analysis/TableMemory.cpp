// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/TableMemory.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace mlir::mk_task {

namespace {
struct MemoryVerifier {
  LogicalResult verifyArenas();
  LogicalResult verifyUnits();
  LogicalResult verifyInPlace();
  LogicalResult verifyOperands();
  LogicalResult verifyStreams();

  ProgramOp program;
  AccessAnalysis &analysis;
  Table &table;
};
} // namespace

LogicalResult MemoryVerifier::verifyArenas() {
  int64_t bytes = program.getActivations().value_or(0);
  for (const MemoryObject &object : analysis.getObjects())
    if (object.space == MemoryObject::Activations && (object.begin < 0 || object.end > bytes))
      return analysis.lookup(object.name)->emitError("buffer '")
             << object.name << "' bytes [" << object.begin << ", " << object.end
             << ") does not lie inside the arena of " << bytes << " bytes";
  int64_t copy = program.getFlagged().value_or(0);
  for (const MemoryObject &object : analysis.getObjects())
    if (object.space == MemoryObject::Activations &&
        (object.flagged ? object.begin < bytes - 2 * copy || object.end > bytes - copy
                        : object.end > bytes - 2 * copy))
      return analysis.lookup(object.name)->emitError("buffer '")
             << object.name << "' bytes [" << object.begin << ", " << object.end << ") expected "
             << (object.flagged ? "in" : "before") << " the first copy of what is flagged, ["
             << bytes - 2 * copy << ", " << bytes - copy << ")";
  int64_t records[2] = {0, 0}; // of inputs, of results
  for (auto buffer : program.getBody().getOps<BufferOp>())
    if (buffer.getRecord()) {
      int64_t &record = records[!buffer.getInput()];
      record = record ? record : *buffer.getRecord();
      if (record != int64_t(*buffer.getRecord()))
        return buffer.emitError("buffer '")
               << buffer.getSymName() << "' lies in records of " << *buffer.getRecord()
               << " bytes, others in such of " << record;
    }
  SmallVector<mk_task::RequestArray> arrays = requestArrays(mk::getOptions(program));
  for (auto buffer : program.getBody().getOps<BufferOp>()) {
    if (!buffer.getRequest())
      continue;
    auto array = llvm::find_if(arrays, [&](const mk_task::RequestArray &array) {
      return array.name == buffer.getSymName();
    });
    if (array == arrays.end())
      return buffer.emitError("the request has no array '") << buffer.getSymName() << "'";
    if (int64_t(buffer.getOffset().value_or(0)) != array->offset)
      return buffer.emitError("expected offset ")
             << array->offset << " of the request's array '" << array->name << "', found "
             << int64_t(buffer.getOffset().value_or(0));
  }
  return success();
}

/// Every unit of every family is run exactly once.
LogicalResult MemoryVerifier::verifyUnits() {
  std::vector<std::vector<const Instruction *>> tasks(table.families.size());
  llvm::SmallPtrSet<Operation *, 16> listed;
  for (const Instruction &instruction : table.instructions)
    if (instruction.hasBody())
      tasks[instruction.family].push_back(&instruction);
  for (auto [family, list] : llvm::zip(table.families, tasks)) {
    if (!listed.insert(family).second)
      return table.op.emitError("family '") << family.getSymName() << "' is listed twice";
    llvm::sort(list, [](auto *a, auto *b) { return a->begin < b->begin; });
    int64_t covered = 0, units = analysis.getKind(family).getUnits().value_or(0);
    for (const Instruction *task : list) {
      if (task->begin > covered)
        break;
      if (task->begin < covered)
        return emitError(family.getLoc(), table.describe(*task))
               << " runs unit " << task->begin << ", which another task runs too";
      covered = task->end;
    }
    if (covered < units)
      return family.emitError("no task runs unit ")
             << covered << " of the " << units << " units of family '" << family.getSymName()
             << "'";
    if (covered > units)
      return family.emitError("a task runs unit ") << units << " of family '" << family.getSymName()
                                                   << "', which has " << units << " units";
  }
  for (auto family : program.getBody().getOps<FamilyOp>())
    if (!listed.contains(family))
      return family.emitError("the table does not know family '") << family.getSymName() << "'";
  return success();
}

/// A unit that works in place reads only columns that it writes itself, so a task may run its units
/// one after the other.
LogicalResult MemoryVerifier::verifyInPlace() {
  auto select = [](ArrayRef<Access> accesses, unsigned object, bool write) {
    auto it = llvm::find_if(accesses, [&](const Access &access) {
      return access.object == object && access.write == write;
    });
    return it == accesses.end() ? ColumnSet() : it->columns;
  };
  for (FamilyOp family : table.families) {
    int64_t units = analysis.getKind(family).getUnits().value_or(0);
    for (const Access &all : analysis.getAccesses(family, 0, units)) {
      if (!all.write || select(analysis.getAccesses(family, 0, units), all.object, false).empty())
        continue;
      for (int64_t unit = 0; unit < units; ++unit) {
        SmallVector<Access> own = analysis.getAccesses(family, unit, unit + 1);
        ColumnSet read = intersect(select(own, all.object, false), all.columns);
        if (intersect(read, select(own, all.object, true)) != read)
          return family.emitError("unit ")
                 << unit << " of family '" << family.getSymName() << "' reads columns of '"
                 << analysis.getObjects()[all.object].name << "' that another unit writes";
      }
    }
  }
  return success();
}

/// The word that stands for an operand or result, as runtime/abi/Abi.def says.
static int64_t getOperandWord(Operation *declaration) {
  int64_t bytes = 0;
  if (auto cache = dyn_cast<CacheOp>(declaration))
    return cache.getLayer();
  if (auto buffer = dyn_cast<BufferOp>(declaration))
    bytes = buffer.getOffset().value_or(0);
  else if (auto weight = dyn_cast<mk_task::WeightOp>(declaration))
    bytes = weight.getOffset().value_or(0);
  return bytes / kAlignment;
}

static bool isStreamed(AccessAnalysis &analysis, FamilyOp family, unsigned operand) {
  KindOp kind = analysis.getKind(family);
  return kind.getStreamed() == kind.getBody().getArgument(operand);
}

LogicalResult MemoryVerifier::verifyOperands() {
  for (const Instruction &instruction : table.instructions) {
    if (!instruction.hasBody())
      continue;
    FamilyOp family = table.getFamily(instruction);
    SmallVector<Attribute> names(family.getOperands().begin(), family.getOperands().end());
    size_t operands = names.size();
    for (Attribute name : family.getOutputs())
      if (isa<BufferOp>(analysis.lookup(cast<FlatSymbolRefAttr>(name).getValue())))
        names.push_back(name);
    if (int64_t(names.size()) > kMaxOperands)
      return family.emitError("expected at most ")
             << kMaxOperands << " operands and results, found " << names.size();
    for (auto [i, name] : llvm::enumerate(names)) {
      StringRef symbol = cast<FlatSymbolRefAttr>(name).getValue();
      int64_t expected = i < operands && isStreamed(analysis, family, i)
                             ? 0
                             : getOperandWord(analysis.lookup(symbol));
      if (instruction.operands[i] != expected)
        return emitError(family.getLoc(), table.describe(instruction))
               << ": expected word " << expected << " for '" << symbol << "', found "
               << instruction.operands[i];
    }
    SmallVector<std::pair<int32_t, bool>> conditions;
    if (ArrayAttr declared = family.getConditionsAttr())
      for (auto condition : declared.getAsRange<ConditionAttr>())
        conditions.push_back({getOperandWord(analysis.lookup(condition.getBuffer().getValue())),
                              condition.getTaken()});
    if (!llvm::equal(conditions, instruction.conditions))
      return emitError(family.getLoc(), table.describe(instruction))
             << ": expected the " << conditions.size() << " conditions of its family, found "
             << (conditions.size() == instruction.conditions.size()
                     ? "others"
                     : Twine(instruction.conditions.size()));
  }
  return success();
}

/// A worker's loader reads on and on: the tiles of a task are neighbours, and those of later tasks
/// lie behind them.
LogicalResult MemoryVerifier::verifyStreams() {
  int64_t lanes = mk::getTarget(program).getLanes();
  int64_t streamUnits = program.getStream().value_or(0) / kAlignment;
  std::map<int64_t, std::pair<int64_t, mk_task::WeightOp>> taken; // end and weight by begin
  std::vector<int64_t> last(table.workers, 0);
  for (const Instruction &instruction : table.instructions) {
    if (!instruction.hasBody())
      continue;
    FamilyOp family = table.getFamily(instruction);
    KindOp kind = analysis.getKind(family);
    Value streamed = kind.getStreamed();
    if (!streamed)
      continue;
    unsigned operand = cast<BlockArgument>(streamed).getArgNumber();
    auto weight = cast<mk_task::WeightOp>(
        analysis.lookup(cast<FlatSymbolRefAttr>(family.getOperands()[operand]).getValue()));
    auto fault = [&] { return emitError(family.getLoc(), table.describe(instruction)) << ": "; };
    std::optional<ArrayRef<int64_t>> places = weight.getTileOffsets();
    int64_t matrices = kind.getMatrices(), units = kind.getUnits().value_or(0);
    if (!places || int64_t(places->size()) < (matrices - 1) * units + instruction.end)
      return fault() << "expected a place in the stream for each of its tiles of '"
                     << weight.getSymName() << "'";
    int64_t tile = getTileBytes(weight.getType(), lanes) / kAlignment;
    int64_t begin = instruction.stream * (getStreamUnit(lanes) / kAlignment), end = begin;
    for (int64_t matrix = 0; matrix < matrices; ++matrix)
      for (int64_t unit = instruction.begin; unit < instruction.end; ++unit, end += tile)
        if (int64_t number = matrix * units + unit; (*places)[number] != end)
          return fault() << "reads tile " << number << " of '" << weight.getSymName() << "' at "
                         << end << " of the stream, where '" << weight.getSymName()
                         << "' has it at " << (*places)[number];
    if (begin < 0 || end > streamUnits)
      return fault() << "reads [" << begin << ", " << end << ") of a stream of " << streamUnits
                     << " units of 64 bytes";
    auto [it, isNew] = taken.try_emplace(begin, end, weight);
    if (!isNew && it->second == std::pair(end, weight))
      continue; // a second family of the same weight
    auto next = std::next(it);
    if (!isNew || (next != taken.end() && next->first < end) ||
        (it != taken.begin() && std::prev(it)->second.first > begin))
      return fault() << "reads [" << begin << ", " << end
                     << ") of the stream, part of which is another task's weights";
    if (begin < last[instruction.worker])
      return fault() << "reads the stream at " << begin << ", behind the worker's later place "
                     << last[instruction.worker];
    last[instruction.worker] = end;
  }
  return success();
}

LogicalResult verifyTableMemory(ProgramOp program, AccessAnalysis &analysis, Table &table) {
  MemoryVerifier verifier = {program, analysis, table};
  return success(succeeded(verifier.verifyArenas()) && succeeded(verifier.verifyUnits()) &&
                 succeeded(verifier.verifyInPlace()) && succeeded(verifier.verifyOperands()) &&
                 succeeded(verifier.verifyStreams()));
}

} // namespace mlir::mk_task
