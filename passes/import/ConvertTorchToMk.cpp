// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Turns an imported model from unregistered torch operators into mk.

#include "passes/Passes.h"
#include "passes/import/Generic.h"
#include "llvm/ADT/StringSet.h"

namespace mlir::mk {
#define GEN_PASS_DEF_CONVERTTORCHTOMK
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

static constexpr int64_t kMaxErrors = 16;
static constexpr StringLiteral kNameAttr = "mk.name";
static constexpr StringLiteral kInputs[] = {"tokens", "positions", "slots", "rows"};

static Rules makeRules() {
  Rules rules;
  // The order decides between rules of one operator: pieces of patterns come before plain rows.
  addViewRules(rules);
  addPartRules(rules);
  addCastRules(rules);
  addNormRules(rules);
  addLayerNormRules(rules);
  addRopeTableRules(rules);
  addRopeRules(rules);
  addRouteRules(rules);
  addExpertsRules(rules);
  addHalfRotationRules(rules);
  addElementwiseRules(rules);
  addLookupRules(rules);
  addLinearRules(rules);
  addAttentionRules(rules);
  addControlRules(rules);
  addGenericRules(rules); // last: what none of the others takes
  return rules;
}

/// The operators that the result depends on; what feeds nothing (masks, assertions) is not among
/// them.
static DenseSet<Operation *> findLiveOps(Operation *terminator) {
  DenseSet<Operation *> live;
  SmallVector<Operation *> worklist = {terminator};
  while (!worklist.empty())
    for (Value operand : worklist.pop_back_val()->getOperands())
      if (Operation *op = operand.getDefiningOp(); op && live.insert(op).second)
        worklist.push_back(op);
  return live;
}

/// True if an operand, itself or in a list, is the result of an operator whose error is reported
/// already.
static bool dependsOnRefused(const Conversion &conversion, Operation *op) {
  return llvm::any_of(op->getOperands(), [&](Value operand) {
    Operation *definition = operand.getDefiningOp();
    if (!definition)
      return false;
    if (parseTorchTensor(operand.getType()))
      return conversion.get(operand).kind == Kind::Refused;
    return dependsOnRefused(conversion, definition);
  });
}

/// What the rules made of a tensor must have the shape and class of numbers that torch gave it.
static bool agrees(const Meaning &meaning, Value tensor) {
  std::optional<TorchTensorType> type = parseTorchTensor(tensor.getType());
  if (!type || meaning.kind == Kind::Refused)
    return false;
  bool isPlain = meaning.kind == Kind::Table || meaning.kind == Kind::Literal;
  Kind kind = isPlain ? meaning.numbers : meaning.kind;
  bool isInteger = kind == Kind::Indices || kind == Kind::TopExperts || kind == Kind::Whole;
  if (kind == Kind::Flags ? type->elementType != "i1"
      : isInteger         ? type->elementType != "si64" && type->elementType != "si32"
                          : !type->isFloatingPoint())
    return false;
  if (meaning.kind == Kind::Matrix || meaning.kind == Kind::Experts)
    return true;
  Axes axes = meaning.getAxes();
  return axes.size() == type->shape.size() &&
         llvm::all_of(llvm::zip_equal(axes, type->shape),
                      [](auto pair) { return std::get<0>(pair).size == std::get<1>(pair); });
}

/// The arguments that become arguments of their own, beside the request's.
static SmallVector<BlockArgument> findInputs(func::FuncOp step) {
  SmallVector<BlockArgument> inputs;
  for (BlockArgument argument : step.getArguments()) {
    auto kind = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "mk.kind");
    if (kind && kind == "input")
      inputs.push_back(argument);
  }
  return inputs;
}

/// tensor<?xDxf32> of a torch tensor [1.., ?, ...] with D numbers behind the rows, tensor<?xi32> of
/// integers [1.., ?]; null for another.
static Type getInputType(BlockArgument input) {
  std::optional<TorchTensorType> type = parseTorchTensor(input.getType());
  if (!type)
    return Type();
  ArrayRef<int64_t> shape =
      ArrayRef<int64_t>(type->shape).drop_while([](int64_t size) { return size == 1; });
  if (shape.empty() || !ShapedType::isDynamic(shape.front()))
    return Type();
  int64_t columns = 1;
  for (int64_t size : shape.drop_front()) {
    if (size <= 0) // a second `?` is negative
      return Type();
    columns *= size;
  }
  MLIRContext *context = input.getContext();
  if (type->isFloatingPoint())
    return RankedTensorType::get({ShapedType::kDynamic, columns}, Float32Type::get(context));
  if (type->elementType != "si64" || shape.size() != 1)
    return Type();
  return RankedTensorType::get({ShapedType::kDynamic}, IntegerType::get(context, 32));
}

/// A parameter or buffer of any rank.
static Meaning makeTable(StringAttr name, const TorchTensorType &type) {
  Meaning table;
  std::optional<Kind> numbers = kindOfElements(type.elementType);
  if (!numbers)
    return table;
  table.kind = Kind::Table;
  table.weight = name;
  table.numbers = *numbers;
  table.bound = *numbers == Kind::Whole ? kExactIntegers : 0;
  int64_t stride = 1;
  for (int64_t size : llvm::reverse(type.shape)) {
    table.view.axes.insert(table.view.axes.begin(), Axis::columns(size, stride));
    stride *= size;
  }
  return table;
}

namespace {
struct ConvertTorchToMk : mk::impl::ConvertTorchToMkBase<ConvertTorchToMk> {
  using ConvertTorchToMkBase::ConvertTorchToMkBase;

  void runOnOperation() override;
  LogicalResult convert(func::FuncOp step);
  LogicalResult readArguments(func::FuncOp step, Conversion &conversion, Block &body);
  LogicalResult convertOps(func::FuncOp step, Conversion &conversion);
  FailureOr<SmallVector<Value>> readResults(func::FuncOp step, Conversion &conversion);
};
} // namespace

void ConvertTorchToMk::runOnOperation() {
  if (weightType != "f32" && weightType != "bf16") {
    getOperation().emitError() << "weight-type must be f32 or bf16, not '" << weightType << "'";
    return signalPassFailure();
  }
  auto step = getOperation().lookupSymbol<func::FuncOp>("step");
  if (!step || step.isExternal()) {
    getOperation().emitError("expected a function @step with a body");
    return signalPassFailure();
  }
  auto isTorch = [](Type type) { return isTorchType(type); };
  if (llvm::any_of(step.getArgumentTypes(), isTorch) ||
      llvm::any_of(step.getResultTypes(), isTorch))
    if (failed(convert(step)))
      return signalPassFailure();
  WalkResult leftOver = getOperation().walk([&](Operation *op) {
    StringRef dialect = op->getName().getDialectNamespace();
    if (dialect == "mk" || dialect == "func" || isa<ModuleOp>(op) ||
        isa<GenericOp>(op->getParentOp()))
      return WalkResult::advance();
    op->emitError() << "'" << op->getName() << "' is neither mk nor func after convert-torch-to-mk";
    return WalkResult::interrupt();
  });
  if (leftOver.wasInterrupted())
    signalPassFailure();
}

LogicalResult ConvertTorchToMk::convert(func::FuncOp step) {
  OpBuilder builder(&getContext());
  builder.setInsertionPoint(step);
  Type indexType = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  SmallVector<Type> inputTypes(std::size(kInputs), indexType);
  SmallVector<BlockArgument> inputs = findInputs(step);
  for (BlockArgument input : inputs) {
    Type type = getInputType(input);
    if (!type)
      return step.emitError() << "argument " << input.getArgNumber()
                              << " must have rows of floating-point numbers or one integer a row, "
                                 "not "
                              << describeTorchType(input.getType());
    inputTypes.push_back(type);
  }
  if (!llvm::hasSingleElement(step.getBody()) || step.getNumResults() == 0 ||
      (inputs.empty() && step.getNumResults() > 1) ||
      !isa<func::ReturnOp>(step.getBody().front().getTerminator()))
    return step.emitError("expected @step with one block and one result");
  auto result =
      func::FuncOp::create(step.getLoc(), step.getName(), builder.getFunctionType(inputTypes, {}));
  Block &body = *result.addEntryBlock();
  builder.setInsertionPointToEnd(&body);
  Type storage = weightType == "f32" ? Type(builder.getF32Type()) : Type(builder.getBF16Type());
  Conversion conversion(builder, storage);

  FailureOr<SmallVector<Value>> results = failure();
  if (succeeded(readArguments(step, conversion, body)) && succeeded(convertOps(step, conversion)))
    results = readResults(step, conversion);
  if (failed(results)) {
    result.erase();
    return failure();
  }
  builder.create<func::ReturnOp>(step.getBody().front().getTerminator()->getLoc(), *results);
  result.setType(builder.getFunctionType(inputTypes, TypeRange(ValueRange(*results))));
  for (auto [index, name] : llvm::enumerate(kInputs))
    result.setArgAttr(index, kNameAttr, builder.getStringAttr(name));
  for (auto [index, input] : llvm::enumerate(inputs)) {
    int64_t place = std::size(kInputs) + index;
    result.setArgAttr(place, kNameAttr, step.getArgAttr(input.getArgNumber(), kNameAttr));
    result.setArgAttr(place, kInputAttr, builder.getUnitAttr());
  }
  step->getBlock()->getOperations().insert(step->getIterator(), result);
  step.erase();
  return success();
}

/// Gives every argument its meaning by `mk.kind` and `mk.name`.
LogicalResult ConvertTorchToMk::readArguments(func::FuncOp step, Conversion &conversion,
                                              Block &body) {
  for (auto [name, input] : llvm::zip(kInputs, body.getArguments()))
    conversion.setInput(name, input);
  llvm::StringSet<> seen;
  int64_t inputs = std::size(kInputs);
  for (BlockArgument argument : step.getArguments()) {
    int64_t index = argument.getArgNumber();
    auto kind = step.getArgAttrOfType<StringAttr>(index, "mk.kind");
    auto name = step.getArgAttrOfType<StringAttr>(index, kNameAttr);
    if (!kind || !name)
      return step.emitError() << "argument " << index << " must have 'mk.kind' and 'mk.name'";
    std::optional<TorchTensorType> type = parseTorchTensor(argument.getType());
    Meaning meaning;
    if (kind == "user_input") {
      Value input = conversion.getInput(name);
      if (!input || !seen.insert(name).second)
        return step.emitError() << "input '" << name.getValue()
                                << "' must be one of tokens, positions, slots, rows, each once";
      if (!type || type->shape != SmallVector<int64_t>{ShapedType::kDynamic} ||
          type->elementType != "si64")
        return step.emitError() << "input '" << name.getValue() << "' must be [?] si64, not "
                                << describeTorchType(argument.getType());
      meaning.kind = Kind::Indices;
      meaning.view = RowView{input, 0, {Axis::row()}, name == "rows" ? input : Value()};
    } else if (kind == "input") {
      meaning = conversion.makeInput(body.getArgument(inputs++), type->shape);
    } else if (type && !llvm::is_contained(type->shape, ShapedType::kDynamic) &&
               !llvm::is_contained(type->shape, 0)) {
      if (failed(conversion.declareWeight(name, type->shape)))
        return step.emitError() << "two arguments named '" << name.getValue()
                                << "' have different shapes";
      constexpr Kind kinds[] = {Kind::Vector, Kind::Matrix, Kind::Experts};
      size_t rank = type->shape.size();
      bool isVector = type->isFloatingPoint() && rank >= 1 && rank <= 3;
      meaning = makeTable(name, *type);
      if (isVector)
        meaning.kind = kinds[rank - 1];
      if (isVector && meaning.kind != Kind::Vector)
        meaning.view.axes.clear();
    }
    conversion.set(argument, meaning); // of another type: an error where it is used
  }
  for (StringRef name : kInputs)
    if (!seen.contains(name))
      return step.emitError() << "expected an input '" << name << "'";
  return success();
}

LogicalResult ConvertTorchToMk::convertOps(func::FuncOp step, Conversion &conversion) {
  static const Rules rules = makeRules();
  Block &block = step.getBody().front();
  DenseSet<Operation *> live = findLiveOps(block.getTerminator());
  int64_t errors = 0;
  for (Operation &op : block) {
    // Constants, sizes and lists are read by the operators that take them.
    if (!live.contains(&op) || llvm::none_of(op.getResultTypes(), parseTorchTensor))
      continue;
    if (dependsOnRefused(conversion, &op))
      continue;
    std::optional<Meaning> meaning = rules.apply(getTorchName(&op), conversion, &op);
    std::string reason = conversion.takeNote();
    if (meaning) {
      conversion.set(op.getResult(0), *meaning);
      if (llvm::all_of(op.getResults(),
                       [&](Value result) { return agrees(conversion.get(result), result); }))
        continue;
      reason = "its result " + describeTorchType(op.getResult(0).getType()) +
               " does not follow from its operands";
    }
    for (Value result : op.getResults())
      conversion.set(result, Meaning());
    if (++errors > kMaxErrors)
      continue;
    reportRefusal(conversion, &op, reason);
  }
  if (errors > kMaxErrors)
    return step.emitError() << "and " << errors - kMaxErrors
                            << " more operators without a conversion";
  return success(errors == 0);
}

/// Logits, or with inputs any rows: whatever is returned is then computed.
FailureOr<SmallVector<Value>> ConvertTorchToMk::readResults(func::FuncOp step,
                                                            Conversion &conversion) {
  Operation *terminator = step.getBody().front().getTerminator();
  bool isModule = !findInputs(step).empty();
  SmallVector<Value> results;
  for (auto [index, operand] : llvm::enumerate(terminator->getOperands())) {
    Meaning meaning = conversion.get(operand);
    if (isModule && !isRowsLike(meaning)) // a piece of a pattern, or a product that waits for one
      if (std::optional<Meaning> computed = realize(conversion, meaning, terminator->getLoc()))
        meaning = *computed;
    if (isModule && isRowsLike(meaning) && !isRowMajor(meaning.view.axes))
      if (std::optional<Meaning> copy = copyPlain(conversion, meaning, terminator->getLoc()))
        meaning = *copy;
    Value rows = conversion.getPlainRows(meaning, terminator->getLoc());
    Value domain = isModule ? Value() : conversion.getInput("rows");
    if (!rows || meaning.view.domain != domain || (!isModule && meaning.view.axes.size() != 2)) {
      std::string reason = conversion.takeNote();
      Operation *maker = operand.getDefiningOp();
      InFlightDiagnostic error =
          isModule && maker ? emitError(maker->getLoc()) : terminator->emitError();
      if (isModule)
        error << "result " << index << " must be rows of the inputs";
      else
        error << "the result must be [?,V] logits of the rows selected by 'rows'";
      return error << (reason.empty() ? "" : ": ") << reason;
    }
    if (isModule && isa<BlockArgument>(rows))
      rows = conversion.create<ScaleOp>(terminator->getLoc(), rows.getType(), rows,
                                        conversion.getF64(1.0));
    results.push_back(rows);
  }
  return results;
}
