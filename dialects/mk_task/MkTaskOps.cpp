// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The verifiers of the ops, and the anchor of a kind.

#include "dialects/mk_task/MkTask.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk_task;

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

/// An offset that code addresses in units of 64 bytes.
static LogicalResult verifyOffset(Operation *op, std::optional<uint64_t> offset) {
  if (offset && (int64_t(*offset) < 0 || *offset % kAlignment))
    return op->emitOpError() << "expected an offset that is a multiple of " << kAlignment
                             << ", found " << int64_t(*offset);
  return success();
}

LogicalResult BufferOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (type.getRank() < 1 || type.getRank() > 2 || !type.isDynamicDim(0) ||
      (type.getRank() == 2 && type.isDynamicDim(1)) || !type.getElementType().isIntOrFloat())
    return emitOpError() << "expected tensor<?xi32> or tensor<?xDx...>, found " << type;
  Type element = type.getElementType();
  if (getFlagged() &&
      (getRequest() || type.getRank() != 2 || !(element.isF32() || element.isBF16())))
    return emitOpError() << "flagged expected rows of f32 or bf16, found " << type
                         << (getRequest() ? " of the request" : "");
  if (getInput() && (getRequest() || getFlagged()))
    return emitOpError("expected an input outside of the request and not flagged");
  if (std::optional<uint64_t> record = getRecord()) {
    if (getRequest() || getFlagged() || getOrder() != Order::natural)
      return emitOpError(
          "in a record expected an input or a result, not flagged, in natural order");
    if (*record % kAlignment || int64_t(getOffset().value_or(0)) + getRowBytes() > int64_t(*record))
      return emitOpError() << "expected a row inside a record of whole lines, found ["
                           << int64_t(getOffset().value_or(0)) << ", "
                           << int64_t(getOffset().value_or(0)) + getRowBytes() << ") of "
                           << int64_t(*record);
  }
  if (getFlagged() && element.isBF16() && type.getDimSize(1) % 2)
    return emitOpError() << "flagged expected rows of whole words, found " << type;
  return verifyOffset(*this, getOffset());
}

LogicalResult WeightOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  bool tiles = getLayout() == Layout::tiles;
  if (getSources().empty())
    return emitOpError() << "expected at least one source tensor";
  if (ArrayAttr views = getViewsAttr();
      views && (views.size() != getSources().size() ||
                !llvm::all_of(views, llvm::IsaPred<mk::ViewAttr, UnitAttr>)))
    return emitOpError() << "expected a #mk.view or unit for each of its " << getSources().size()
                         << " sources, found " << views;
  if (!type.hasStaticShape() || type.getRank() < 1 || type.getRank() > (tiles ? 3 : 2) ||
      !type.getElementType().isIntOrFloat())
    return emitOpError() << "expected a vector or matrix of known shape, found " << type;
  if (tiles && type.getRank() < 2)
    return emitOpError() << "layout(tiles) expected a matrix, or one for each expert, found "
                         << type;
  if (!tiles && (getGathered() || getTileOffsets() || getSegments()))
    return emitOpError() << "only layout(tiles) has `gathered`, `segments` and `tile_offsets`";
  return verifyOffset(*this, getOffset());
}

LogicalResult KindOp::verify() {
  Block *body = getBody().empty() ? nullptr : &getBody().front();
  auto yield = dyn_cast_or_null<mk::YieldOp>(body && !body->empty() ? &body->back() : nullptr);
  if (!yield)
    return emitOpError() << "expected a body that ends in mk.yield";
  Operation *anchor = getAnchor();
  if (!anchor)
    return emitOpError() << "expected a body that computes what it yields";
  KindClass kindClass = getKindClass();
  if (kindClass == KindClass::tiles) {
    auto linear = dyn_cast<mk::LinearOp>(anchor);
    if (!linear || &body->front() != anchor || anchor->getNextNode() != yield)
      return emitOpError() << "class(tiles) expected one mk.linear and mk.yield, found "
                           << anchor->getName();
    if (linear.getWeights().size() != 1)
      return emitOpError() << "expected mk.linear to take the one weight argument, found "
                           << linear.getWeights().size() << " weights";
    if (!llvm::equal(linear.getResults(), yield.getValues()))
      return emitOpError() << "expected mk.yield of the results of mk.linear";
  }
  if (kindClass == KindClass::attend && !isa<mk::AttendOp>(anchor))
    return emitOpError() << "class(attend) expected mk.attend, found " << anchor->getName();
  if (kindClass == KindClass::experts && !isa<mk::MoeLinearOp, mk::MoeCombineOp>(anchor))
    return emitOpError() << "class(experts) expected mk.moe_linear or mk.moe_combine, found "
                         << anchor->getName();
  if (kindClass == KindClass::serial && getUnits().value_or(1) != 1)
    return emitOpError() << "class(serial) expected one unit, found " << int64_t(*getUnits());
  if (!getSegments())
    return success();
  if (kindClass == KindClass::serial || kindClass == KindClass::attend)
    return emitOpError() << "class(" << stringifyKindClass(kindClass)
                         << ") has no columns to cut into segments";
  mk::TargetAttr target = mk::getTarget(*this);
  if (!target)
    return success();
  int64_t units = 0, found = getUnits().value_or(-1);
  for (auto segment : getSegments()->getAsRange<SegmentAttr>())
    units += segment.units(target.getLanes());
  if (found != units)
    return emitOpError() << "expected the " << units << " units of its segments, found " << found;
  return success();
}

Operation *KindOp::getYield() { return getBody().front().getTerminator(); }

Operation *KindOp::getAnchor() {
  // Only a kind without results (mk.advance, mk.finish) has nothing to yield.
  Operation *yield = getYield();
  return yield->getNumOperands() ? yield->getOperand(0).getDefiningOp() : yield->getPrevNode();
}

Value KindOp::getStreamed() {
  Operation *anchor = getAnchor();
  return mk::multiplies(anchor) ? mk::getMultiplied(anchor)[0].get() : Value();
}

int64_t KindOp::getMatrices() {
  auto type = cast<RankedTensorType>(getStreamed().getType());
  return type.getRank() == 3 ? type.getDimSize(0) : 1;
}

LogicalResult TaskOp::verify() {
  int64_t begin = getBegin(), end = getEnd(), worker = getWorker();
  if (begin < 0 || end <= begin)
    return emitOpError() << "of " << getFamilyAttr() << " expected a range of units, found ["
                         << begin << ", " << end << ")";
  if (worker < 0)
    return emitOpError() << "of " << getFamilyAttr() << " expected a worker number, found "
                         << worker;
  return success();
}

LogicalResult TableOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getWords().getType());
  if (!type || type.getRank() != 3 || type.getDimSize(2) != kInstructionWords ||
      !type.getElementType().isInteger(32))
    return emitOpError() << "expected words of tensor<WORKERSxINSTRUCTIONSx" << kInstructionWords
                         << "xi32>, found " << getWords().getType();
  if (int64_t(getCounts().size()) != type.getDimSize(0))
    return emitOpError() << "expected a count for each of " << type.getDimSize(0)
                         << " workers, found " << getCounts().size();
  for (int64_t count : getCounts())
    if (count < 0 || count >= type.getDimSize(1))
      return emitOpError() << "expected fewer than " << type.getDimSize(1)
                           << " instructions, so that one of kind -1 ends the list, found "
                           << count;
  return success();
}

//===----------------------------------------------------------------------===//
// Program: what needs more than one declaration
//===----------------------------------------------------------------------===//

/// The declarations of a program by name, gathered once for all checks.
using Declarations = DenseMap<StringAttr, Operation *>;

static Operation *lookup(const Declarations &declarations, Attribute name) {
  return declarations.lookup(cast<FlatSymbolRefAttr>(name).getAttr());
}

static Type getDeclaredType(Operation *op) {
  return TypeSwitch<Operation *, Type>(op)
      .Case<BufferOp, WeightOp, CacheOp>([](auto declaration) { return declaration.getType(); })
      .Default([](Operation *) { return Type(); });
}

/// Predicates are rows of one number that the program makes; an instruction holds some of them.
static LogicalResult verifyConditions(FamilyOp family, const Declarations &declarations) {
  ArrayAttr conditions = family.getConditionsAttr();
  if (!conditions)
    return success();
  if (conditions.empty() || int64_t(conditions.size()) > kMaxConditions)
    return family.emitOpError() << family.getSymNameAttr() << " expected 1 to " << kMaxConditions
                                << " conditions, found " << conditions.size();
  llvm::SmallDenseSet<Attribute> seen;
  for (auto condition : conditions.getAsRange<ConditionAttr>()) {
    auto buffer = dyn_cast_or_null<BufferOp>(lookup(declarations, condition.getBuffer()));
    auto type = buffer ? dyn_cast<RankedTensorType>(buffer.getType()) : RankedTensorType();
    if (!type || type.getRank() != 2 || type.getDimSize(1) != 1 || !type.getElementType().isF32() ||
        buffer.getRequest())
      return family.emitOpError() << family.getSymNameAttr()
                                  << ": condition expected a buffer tensor<?x1xf32>, found "
                                  << condition.getBuffer();
    if (!seen.insert(condition.getBuffer()).second)
      return family.emitOpError() << family.getSymNameAttr() << " has two conditions on "
                                  << condition.getBuffer();
  }
  return success();
}

static LogicalResult verifyFamily(FamilyOp family, const Declarations &declarations) {
  auto kind = dyn_cast_or_null<KindOp>(lookup(declarations, family.getKindAttr()));
  if (!kind)
    return family.emitOpError() << "expected the name of a kind, found " << family.getKindAttr();
  auto matches = [&](ArrayAttr names, TypeRange types, StringRef what) -> LogicalResult {
    if (names.size() != types.size())
      return family.emitOpError() << family.getSymNameAttr() << ": kind " << family.getKindAttr()
                                  << " expected " << types.size() << " " << what << "s, found "
                                  << names.size();
    for (auto [name, type] : llvm::zip(names, types)) {
      Operation *declaration = lookup(declarations, name);
      Type found = declaration ? getDeclaredType(declaration) : Type();
      if (!found)
        return family.emitOpError() << family.getSymNameAttr() << ": " << what
                                    << " expected a buffer, weight or cache, found " << name;
      if (found != type)
        return family.emitOpError()
               << family.getSymNameAttr() << ": " << what << " " << name << " expected type "
               << type << " as in kind " << family.getKindAttr() << ", found " << found;
    }
    return success();
  };
  if (failed(matches(family.getOperandsAttr(), kind.getBody().getArgumentTypes(), "operand")) ||
      failed(matches(family.getOutputsAttr(), kind.getYield()->getOperandTypes(), "result")))
    return failure();
  for (Attribute name : family.getOutputs()) {
    Operation *output = lookup(declarations, name);
    auto buffer = dyn_cast<BufferOp>(output);
    if (isa<WeightOp>(output) || (buffer && (buffer.getRequest() || buffer.getInput())))
      return family.emitOpError() << family.getSymNameAttr() << " cannot write " << name
                                  << ": it is "
                                  << (!buffer             ? "a weight"
                                      : buffer.getInput() ? "an input"
                                                          : "an array of the request");
    if (isa<CacheOp>(output) && !llvm::is_contained(family.getOperandsAttr(), name))
      return family.emitOpError() << family.getSymNameAttr() << ": cache result " << name
                                  << " expected to be an operand too";
  }
  return verifyConditions(family, declarations);
}

static LogicalResult verifyTask(TaskOp task, const Declarations &declarations,
                                mk::TargetAttr target) {
  auto family = dyn_cast_or_null<FamilyOp>(lookup(declarations, task.getFamilyAttr()));
  if (!family)
    return task.emitOpError() << "expected the name of a family, found " << task.getFamilyAttr();
  auto kind = cast<KindOp>(lookup(declarations, family.getKindAttr()));
  int64_t units = kind.getUnits().value_or(0);
  if (int64_t(task.getEnd()) > units)
    return task.emitOpError() << "of " << task.getFamilyAttr() << " expected units below " << units
                              << ", found [" << int64_t(task.getBegin()) << ", "
                              << int64_t(task.getEnd()) << ")";
  if (target && int64_t(task.getWorker()) >= target.getWorkers())
    return task.emitOpError() << "of " << task.getFamilyAttr() << " expected a worker below "
                              << target.getWorkers() << ", found " << int64_t(task.getWorker());
  for (ArrayAttr events :
       {task.getWaits(), task.getPrevious(), task.getHintsAttr(), task.getSignals()})
    for (Attribute event : events ? events : ArrayAttr::get(task.getContext(), {}))
      if (!isa_and_nonnull<EventOp>(lookup(declarations, event)))
        return task.emitOpError() << "of " << task.getFamilyAttr()
                                  << " expected the name of an event, found " << event;
  return success();
}

/// No unit may run twice in a step: two tasks would write its columns.
static LogicalResult verifyDisjoint(SmallVectorImpl<TaskOp> &tasks) {
  llvm::sort(tasks, [](TaskOp a, TaskOp b) { return a.getBegin() < b.getBegin(); });
  for (size_t i = 1; i < tasks.size(); ++i) {
    if (tasks[i].getBegin() >= tasks[i - 1].getEnd())
      continue;
    InFlightDiagnostic diagnostic = tasks[i].emitOpError()
                                    << "of " << tasks[i].getFamilyAttr()
                                    << " expected units that no other task has, "
                                    << "found unit " << int64_t(tasks[i].getBegin()) << " twice";
    diagnostic.attachNote(tasks[i - 1].getLoc()) << "the other task is here";
    return diagnostic;
  }
  return success();
}

LogicalResult ProgramOp::verifyRegions() {
  Declarations declarations;
  for (Operation &op : getBody().front()) {
    if (op.getDialect() != (*this)->getDialect())
      return op.emitOpError() << "cannot stand in a mk_task.program: expected ops of mk_task";
    if (auto symbol = dyn_cast<SymbolOpInterface>(op))
      declarations[symbol.getNameAttr()] = &op;
  }
  for (auto family : getBody().getOps<FamilyOp>())
    if (failed(verifyFamily(family, declarations)))
      return failure();
  mk::TargetAttr target = mk::getTarget(*this);
  llvm::MapVector<StringAttr, SmallVector<TaskOp>> tasks;
  for (auto task : getBody().getOps<TaskOp>()) {
    if (failed(verifyTask(task, declarations, target)))
      return failure();
    tasks[task.getFamilyAttr().getAttr()].push_back(task);
  }
  for (auto &[family, ofFamily] : tasks)
    if (failed(verifyDisjoint(ofFamily)))
      return failure();
  return success();
}
