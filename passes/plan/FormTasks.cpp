// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "dialects/mk_task/MkTask.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/RegionUtils.h"
#include "passes/Passes.h"
#include "passes/analysis/Conditions.h"
#include "passes/analysis/Diagnostics.h"
#include "passes/analysis/Domains.h"
#include "passes/plan/JoinSides.h"
#include "passes/plan/Kinds.h"
#include "passes/plan/Weights.h"

namespace mlir::mk {
#define GEN_PASS_DEF_FORMTASKS
#include "passes/Passes.h.inc"

using namespace mk_task;

namespace {

/// The memory that a value of the function became.
struct Place {
  FlatSymbolRefAttr symbol;
  int64_t version = 0; // of a cache: how many appends came before
};

/// Forms one program from one function: declarations go to blocks of their own, spliced together at
/// the end.
struct Former {
  explicit Former(func::FuncOp func)
      : func(func), builder(func.getContext()), names(func.getContext()), kinds(names),
        weights(names, func), conditions(func.getBody().front()) {}

  LogicalResult declareRequest();
  LogicalResult declareInputs(unsigned first);
  LogicalResult nameOutputs();
  LogicalResult checkPositions(EmbeddingOp op);
  LogicalResult checkControl(Operation *op);
  LogicalResult formFamily(Operation *op);
  void finish();

private:
  FailureOr<FlatSymbolRefAttr> placeOperand(Operation *user, Value value);
  FlatSymbolRefAttr placeResult(OpResult result, StringRef family, bool numbered);
  ArrayAttr placeConditions(Operation *op);

  func::FuncOp func;
  OpBuilder builder;
  Names names;
  Kinds kinds;
  Weights weights;
  Conditions conditions;
  Block requests, caches, buffers, families;
  Domains domains;
  DenseMap<Value, Place> places;
  DenseMap<Value, StringAttr> outputs;
  DenseMap<int64_t, FlatSymbolRefAttr> cacheOfLayer;
  DenseMap<Attribute, int64_t> cacheVersions;
  Operation *last = nullptr;
};

} // namespace

LogicalResult Former::declareRequest() {
  constexpr StringRef arguments[] = {"tokens", "positions", "slots", "rows"};
  OptionsAttr options = requireOptions(func);
  Type indices = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  if (!options)
    return failure();
  ArrayRef<Type> types = func.getArgumentTypes();
  if (types.size() < std::size(arguments) ||
      !llvm::all_equal(types.take_front(std::size(arguments))) || types.front() != indices)
    return func.emitOpError() << "expected the arguments tokens, positions, slots and rows, each "
                              << indices << ", found " << func.getFunctionType();
  SmallVector<RequestArray> arrays = requestArrays(options);
  builder.setInsertionPointToEnd(&requests);
  for (auto [i, name] : llvm::enumerate(arguments)) {
    BlockArgument argument = func.getArgument(i);
    const RequestArray *array =
        llvm::find_if(arrays, [&](const RequestArray &array) { return array.name == name; });
    Domain domain = name == "rows" ? Domain::rows : Domain::tokens;
    auto buffer =
        builder.create<BufferOp>(func.getLoc(), names.unique(name), builder.getUnitAttr(),
                                 DomainAttr::get(func.getContext(), domain),
                                 builder.getI64IntegerAttr(array->offset), TypeAttr::get(indices));
    places[argument].symbol = FlatSymbolRefAttr::get(buffer.getSymNameAttr());
    domains[argument] = domain;
  }
  return declareInputs(std::size(arguments));
}

/// Rows or integers that the host hands in, one for each row of the step.
LogicalResult Former::declareInputs(unsigned first) {
  builder.setInsertionPointToEnd(&buffers);
  for (BlockArgument argument : func.getArguments().drop_front(first)) {
    auto name = func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "mk.name");
    if (!name || !func.getArgAttr(argument.getArgNumber(), kInputAttr))
      return func.emitOpError() << "expected argument " << argument.getArgNumber()
                                << " to have mk.name and " << kInputAttr;
    auto buffer = builder.create<BufferOp>(func.getLoc(), names.unique(name.getValue()),
                                           /*request=*/UnitAttr(),
                                           DomainAttr::get(func.getContext(), Domain::tokens),
                                           IntegerAttr(), TypeAttr::get(argument.getType()));
    buffer.setInput(true);
    places[argument].symbol = FlatSymbolRefAttr::get(buffer.getSymNameAttr());
    domains[argument] = Domain::tokens;
  }
  return success();
}

/// What the host reads of a language model has a fixed name: the returned rows are @logits, the
/// sampled tokens @next. Other results are the operands of mk.finish.
LogicalResult Former::nameOutputs() {
  if (!func.getBody().getOps<FinishOp>().empty()) {
    for (auto [i, value] : llvm::enumerate(func.getBody().front().getTerminator()->getOperands()))
      if (!value.getDefiningOp())
        return func.emitOpError("expected to return values that are computed");
      else if (!outputs.contains(value)) // what is returned twice is written once
        outputs[value] = names.unique(("result" + Twine(i)).str());
    return success();
  }
  StringAttr logits = names.unique("logits"), next = names.unique("next");
  for (Value value : func.getBody().front().getTerminator()->getOperands()) {
    StringAttr name = cast<RankedTensorType>(value.getType()).getRank() == 1 ? next : logits;
    bool taken = llvm::any_of(outputs, [&](auto &output) { return output.second == name; });
    if (!value.getDefiningOp() || taken)
      return func.emitOpError() << "expected to return one computed value as @" << name.getValue();
    outputs[value] = name;
  }
  for (auto sample : func.getBody().getOps<SampleOp>())
    if (llvm::none_of(outputs, [&](auto &output) { return output.second == next; }))
      outputs[sample.getResult()] = next;
  return success();
}

FailureOr<FlatSymbolRefAttr> Former::placeOperand(Operation *user, Value value) {
  if (auto table = value.getDefiningOp<WeightOp>())
    return weights.placeTable(table);
  if (auto cache = value.getDefiningOp<KvCacheOp>()) {
    FlatSymbolRefAttr &symbol = cacheOfLayer[cache.getLayer()];
    if (!symbol) {
      builder.setInsertionPointToEnd(&caches);
      auto declared = builder.create<CacheOp>(cache.getLoc(),
                                              names.unique(("kv" + Twine(cache.getLayer())).str()),
                                              cache.getLayerAttr(), TypeAttr::get(cache.getType()));
      symbol = FlatSymbolRefAttr::get(declared.getSymNameAttr());
    }
    places[value].symbol = symbol;
  }
  auto place = places.find(value);
  if (place == places.end())
    return emitModelError(user) << "expected operands of known memory, found " << value;
  if (isa<CacheType>(value.getType()) &&
      place->second.version != cacheVersions.lookup(place->second.symbol))
    return emitModelError(user)
           << "needs " << place->second.symbol
           << " as it was before an append that comes earlier; expected the newest cache";
  return place->second.symbol;
}

FlatSymbolRefAttr Former::placeResult(OpResult result, StringRef family, bool numbered) {
  if (isa<CacheType>(result.getType())) {
    // The cache that grew: back through the append to a value that has its place.
    Value cache = result;
    while (!places.contains(cache)) {
      auto append = cache.getDefiningOp<KvAppendOp>();
      cache = append ? append.getCache() : mk::getYielded(cast<OpResult>(cache));
    }
    FlatSymbolRefAttr symbol = places[cache].symbol;
    places[result] = {symbol, ++cacheVersions[symbol]};
    return symbol;
  }
  StringAttr name = outputs.lookup(result);
  if (!name)
    name = names.unique(
        (family + ".out" + (numbered ? Twine(result.getResultNumber()) : Twine())).str());
  builder.setInsertionPointToEnd(&buffers);
  auto buffer =
      builder.create<BufferOp>(result.getLoc(), name, UnitAttr(),
                               DomainAttr::get(builder.getContext(), domains.lookup(result)),
                               IntegerAttr(), TypeAttr::get(result.getType()));
  places[result].symbol = FlatSymbolRefAttr::get(buffer.getSymNameAttr());
  return places[result].symbol;
}

/// A position is below max_length, and its row must exist; tokens are checked before each step, and
/// of a function with inputs so are the positions.
LogicalResult Former::checkPositions(EmbeddingOp op) {
  if (!func.getBody().getOps<FinishOp>().empty())
    return success();
  int64_t rows = op.getTable().getType().getDimSize(0), offset = op.getOffset(),
          length = requireOptions(op).getMaxLength();
  if (op.getIndices() != func.getArgument(1) || length + offset <= rows)
    return success();
  return emitModelError(op) << "looks up a position in " << rows << " rows from row " << offset
                            << " on; expected max_length of at most " << rows - offset
                            << " in whole pages, found " << length;
}

/// What depends on the data of a whole step is for functions: a token's result must not depend on
/// what else is in the step.
LogicalResult Former::checkControl(Operation *op) {
  if (!isa<AcrossRowsOp, ChooseOp>(op))
    return success();
  if (func.getBody().getOps<FinishOp>().empty())
    return emitModelError(op) << "looks at all tokens of a step; expected a function that ends "
                                 "with mk.finish, not a language model";
  if (auto choose = dyn_cast<ChooseOp>(op); choose && !isEqualInAllRows(choose.getPredicate()))
    return emitModelError(op) << "expected a predicate that is equal in all rows, made from "
                                 "mk.across_rows";
  return success();
}

ArrayAttr Former::placeConditions(Operation *op) {
  SmallVector<Attribute> result;
  for (const Side &side : conditions.of(op))
    result.push_back(
        ConditionAttr::get(op->getContext(), places[side.predicate].symbol, side.taken));
  return result.empty() ? ArrayAttr() : builder.getArrayAttr(result);
}

LogicalResult Former::formFamily(Operation *op) {
  if (isa<WeightOp, KvCacheOp>(op))
    return success();
  std::string path = getModulePath(op);
  if (op->getDialect() != func->getContext()->getLoadedDialect<MkDialect>() ||
      isa<AttentionOp, ArgmaxOp>(op))
    return emitModelError(op) << "cannot become a task; expected an op of mk"
                              << (isa<AttentionOp, ArgmaxOp>(op) ? " that has been split" : "");
  if (isa_and_nonnull<AdvanceOp, FinishOp>(last))
    return emitModelError(op) << "comes after " << last->getName()
                              << "; expected that to end the step";
  last = op;
  FailureOr<Domain> domain = inferDomain(op, domains);
  if (failed(domain))
    return failure();

  if (auto embedding = dyn_cast<EmbeddingOp>(op))
    if (failed(checkPositions(embedding)))
      return failure();
  if (failed(checkControl(op)))
    return failure();
  bool isProduct = multiplies(op);
  auto isWeight = [&](OpOperand &operand) {
    return isProduct &&
           llvm::any_of(getMultiplied(op), [&](OpOperand &weight) { return &weight == &operand; });
  };
  llvm::SetVector<Value> captured;
  for (OpOperand &operand : op->getOpOperands())
    if (!isWeight(operand))
      captured.insert(operand.get());
  getUsedValuesDefinedAbove(op->getRegions(), captured);
  SmallVector<Value> arguments(captured.begin(), captured.end());
  SmallVector<Attribute> operands, results;
  std::string layouts;
  for (Value argument : arguments) {
    FailureOr<FlatSymbolRefAttr> symbol = placeOperand(op, argument);
    if (failed(symbol))
      return failure();
    operands.push_back(*symbol);
    if (auto table = argument.getDefiningOp<WeightOp>())
      layouts += weights.isMultiplied(table) ? "tiles " : "rows ";
    // Each array of the request has a place of its own on a GPU, and none of them lies where inputs
    // and activations do: a kind reads one of these.
    auto input = dyn_cast<BlockArgument>(argument);
    bool given = input && func.getArgAttr(input.getArgNumber(), kInputAttr);
    layouts += given ? "input " : input ? symbol->getValue().str() + " " : "";
  }
  if (isProduct) {
    for (OpOperand &weight : getMultiplied(op))
      if (!weight.get().getDefiningOp<WeightOp>())
        return emitModelError(op) << "expected to multiply by an mk.weight, found " << weight.get();
    arguments.insert(arguments.begin() + 1, Value());
    operands.insert(operands.begin() + 1, weights.pack(op));
  }
  FlatSymbolRefAttr kind = kinds.get(op, arguments, layouts, *domain);
  StringRef kindName = kind.getValue();
  StringAttr family =
      path.empty() ? names.unique(kindName) : names.unique(path, path + "." + kindName.str());
  int64_t numBuffers =
      llvm::count_if(op->getResultTypes(), [](Type type) { return !isa<CacheType>(type); });
  for (OpResult result : op->getResults())
    results.push_back(placeResult(result, family.getValue(), numBuffers > 1));
  builder.setInsertionPointToEnd(&families);
  builder.create<FamilyOp>(op->getLoc(), family, kind, builder.getArrayAttr(operands),
                           builder.getArrayAttr(results), placeConditions(op));
  return success();
}

void Former::finish() {
  builder.setInsertionPoint(func);
  auto program =
      builder.create<ProgramOp>(func.getLoc(), func.getSymNameAttr(), IntegerAttr(), IntegerAttr(),
                                IntegerAttr(), IntegerAttr(), IntegerAttr());
  Block &body = program.getBody().emplaceBlock();
  for (Block *section : {&requests, &caches, &weights.section, &buffers, &kinds.section, &families})
    body.getOperations().splice(body.end(), section->getOperations());
  func.erase();
  joinSides(program);
}

namespace {
struct FormTasks : impl::FormTasksBase<FormTasks> {
  void runOnOperation() override {
    auto func = getOperation().lookupSymbol<func::FuncOp>("step");
    if (!func || !func.getBody().hasOneBlock()) {
      getOperation().emitOpError() << "expected a function @step with one block";
      return signalPassFailure();
    }
    moveDecisionsUp(func.getBody().front());
    Former former(func);
    if (failed(former.declareRequest()) || failed(former.nameOutputs()))
      return signalPassFailure();
    for (Operation &op : func.getBody().front().without_terminator())
      if (failed(former.formFamily(&op)))
        return signalPassFailure();
    former.finish();
  }
};
} // namespace
} // namespace mlir::mk
