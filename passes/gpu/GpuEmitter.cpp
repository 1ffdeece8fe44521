// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/gpu/GpuEmitter.h"
#include "passes/gpu/ChosenExperts.h"

using namespace mlir;
using namespace mlir::mk;

SharedLayout::SharedLayout(mk_task::ProgramOp program, TargetAttr target) {
  int64_t most = 0, ofLoader = 0, ofConsumers = 0;
  for (auto kind : program.getOps<mk_task::KindOp>()) {
    most = std::max(most, GpuEmitter::scratchBytes(kind));
    if (kind.getKindClass() == mk_task::KindClass::experts) {
      ofLoader = std::max(ofLoader, ChosenExperts::listBytes(kind, /*ofLoader=*/true));
      ofConsumers = std::max(ofConsumers, ChosenExperts::listBytes(kind, /*ofLoader=*/false));
    }
  }
  consumerList = loaderList + ofLoader;
  scratch = consumerList + ofConsumers;
  ring = llvm::alignTo(scratch + most, 128);
  stages = std::min<int64_t>((target.getShared() - ring) / kSlotBytes, kMaxStages);
}

Value SharedLayout::instructionNumber(GpuBuilder &b, Value context, Value step, Value number) {
  Value perStep = b.create<mk_cta::ContextWordOp>(context, "instructions");
  return b.wideAdd(b.wideMul(step, perStep), number);
}

GpuEmitter::GpuEmitter(GpuBuilder &b, mk_task::ProgramOp program, mk_task::KindOp kind,
                       SharedLayout layout, GpuFrame frame, int64_t most)
    : b(b), program(program), kind(kind), layout(layout), frame(frame),
      options(getOptions(program)), most(most), thread(b.create<mk_cta::ThreadOp>()) {}

bool mk::dependsOnRows(mk_task::KindOp kind) {
  auto program = kind->getParentOfType<mk_task::ProgramOp>();
  bool attends = isa<AttendOp>(kind.getAnchor());
  return kind.getStreamed() || (attends && AttendItems::joins(kind)) ||
         AttendItems::findJoiner(program, kind);
}

std::string mk::getBodyName(mk_task::KindOp kind, int64_t most) {
  std::string name = kind.getSymName().str();
  bool few = most == kGroupRows && hasKernelOfFew(getOptions(kind)) && dependsOnRows(kind);
  return few ? name + "." + std::to_string(most) : name;
}

LogicalResult GpuEmitter::refuse(Operation *op, const Twine &why) {
  return op->emitOpError() << why << " (in kind '" << kind.getSymName() << "' for a gpu"
                           << (getModulePath(op).empty() ? "" : ", at " + getModulePath(op)) << ")";
}

static int64_t bytesOf(Type element) {
  if (auto vector = dyn_cast<VectorType>(element))
    return vector.getNumElements() * vector.getElementTypeBitWidth() / 8;
  return element.getIntOrFloatBitWidth() / 8;
}

Value GpuEmitter::rowsAs(const Memory &memory, Type element) {
  if (memory.type.getRank() == 1)
    return view(memory.arena, memory.offset, {ShapedType::kDynamic}, {1}, element);
  int64_t size = bytesOf(element);
  int64_t columns =
      llvm::divideCeil(memory.columns() * bytesOf(memory.type.getElementType()), size);
  return view(memory.arena, memory.offset, {ShapedType::kDynamic, columns},
              {memory.pitch / size, 1}, element);
}

GpuEmitter::Memory GpuEmitter::locate(const Memory &memory, Value &row) {
  if (!memory.records)
    return memory;
  Value array = b.index(SharedLayout::headerOf("tokens"));
  Value number = b.toIndex(b.read(SharedLayout::header(b), {array, row}));
  Memory result = memory;
  result.records = false;
  result.offset = b.wideAdd(memory.offset, b.wideMul(number, memory.pitch));
  row = b.index(0);
  return result;
}

/// As on the CPU: from one family of the kind; the instruction holds the places.
LogicalResult GpuEmitter::bindOperands() {
  mk_task::FamilyOp family;
  for (auto candidate : program.getOps<mk_task::FamilyOp>())
    if (candidate.getKind() == kind.getSymName()) {
      family = candidate;
      break;
    }
  if (!family)
    return kind.emitOpError("expects a family that uses it, found none");
  auto bytes = [&](int64_t word) { return b.wideMul(field("operand", word), mk_task::kAlignment); };
  auto buffer = [&](mk_task::BufferOp op, int64_t word) -> Memory {
    auto type = cast<RankedTensorType>(op.getType());
    if (int64_t array = headerOf(program, op); array >= 0)
      return {"header", b.index(array), type, 0, op.getOrder()};
    Value offset = bytes(word);
    if (op.getRecord())
      return {op.getInput() ? "inputs" : "results",
              offset,
              type,
              op.getPitch(),
              op.getOrder(),
              /*flagged=*/false,
              /*records=*/true};
    if (op.getFlagged())
      offset = b.wideAdd(offset, b.select(b.equal(copy(), b.index(0)), b.index(0), flaggedBytes()));
    return {op.getRequest() ? "request" : "activations",
            offset,
            type,
            op.getPitch(),
            op.getOrder(),
            op.getFlagged()};
  };
  int64_t word = 0;
  for (auto [argument, symbol] :
       llvm::zip_equal(kind.getBody().getArguments(), family.getOperands())) {
    Operation *op = SymbolTable::lookupSymbolIn(program, cast<FlatSymbolRefAttr>(symbol));
    if (auto bufferOp = dyn_cast_or_null<mk_task::BufferOp>(op)) {
      memory[argument] = buffer(bufferOp, word);
    } else if (isa_and_nonnull<mk_task::CacheOp>(op)) {
      layers[argument] = field("operand", word);
    } else if (auto weight = dyn_cast_or_null<mk_task::WeightOp>(op)) {
      auto type = cast<RankedTensorType>(argument.getType());
      bool fragments = weight.getLayout() == mk_task::Layout::fragments;
      if (weight.getLayout() == mk_task::Layout::tiles)
        tiled[argument] = weight;
      if (weight.getLayout() != mk_task::Layout::tiles || weight.getGathered())
        memory[argument] = {"params", bytes(word), type,
                            type.getShape().back() * type.getElementTypeBitWidth() / 8,
                            fragments ? mk_task::Order::fragments : mk_task::Order::natural};
    } else {
      return family.emitOpError() << "expects a buffer, cache or weight, got " << symbol;
    }
    ++word;
  }
  for (auto [value, symbol] :
       llvm::zip_equal(kind.getYield()->getOperands(), family.getOutputs())) {
    Operation *op = SymbolTable::lookupSymbolIn(program, cast<FlatSymbolRefAttr>(symbol));
    auto bufferOp = dyn_cast_or_null<mk_task::BufferOp>(op);
    outputs.push_back(
        {value, bufferOp ? std::optional<Memory>(buffer(bufferOp, word++)) : std::nullopt});
  }
  if (word > mk_task::kMaxOperands)
    return kind.emitOpError() << "expects at most " << mk_task::kMaxOperands
                              << " operands and results, got " << word;
  return success();
}

GpuEmitter::Memory &GpuEmitter::memoryOf(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    Operation *parent = argument.getOwner()->getParentOp();
    if (auto linear = dyn_cast<LinearOp>(parent))
      value = linear.getInput();
    if (auto rowwise = dyn_cast<RowwiseOp>(parent))
      value = rowwise.getInputs()[argument.getArgNumber()];
  }
  auto found = memory.find(value);
  assert(found != memory.end() && "not a value in memory");
  return found->second;
}

/// See mk_task::getFragmentPosition; columns are powers of two apart, so this is a few bit
/// operations.
Value GpuEmitter::position(Value column, mk_task::Order order) {
  if (order != mk_task::Order::fragments)
    return column;
  auto bits = [&](int64_t shift, int64_t mask) -> Value {
    Value moved = b.createOrFold<arith::ShRUIOp>(column, b.index(shift));
    return b.createOrFold<arith::AndIOp>(moved, b.index(mask));
  };
  Value segment = b.createOrFold<arith::AndIOp>(column, b.index(~int64_t(31)));
  Value result = b.add(segment, bits(0, 1));
  result = b.add(result, b.mul(bits(1, 3), 8));
  return b.add(result, b.mul(bits(3, 3), 2));
}

Value GpuEmitter::load(const Memory &memory, Value row, Value column) {
  if (memory.arena == "header")
    return b.read(SharedLayout::header(b), {memory.offset, row});
  if (memory.flagged) {
    Value place = position(column, memory.order);
    if (memory.type.getElementType().isF32())
      return b.create<arith::BitcastOp>(f32(), loadWords(memory, 1, {row, place}));
    Value word = loadWords(memory, 1, {row, b.div(place, 2)});
    auto [low, high] = b.halves(word);
    return b.select(b.equal(b.rem(place, 2), b.index(1)), high, low);
  }
  if (memory.records && memory.type.getRank() == 1)
    column = b.index(0);
  Value rows = rowsAs(locate(memory, row), memory.type.getElementType());
  Value value = memory.type.getRank() == 1 ? b.read(rows, position(column, memory.order))
                                           : b.read(rows, {row, position(column, memory.order)});
  return isa<FloatType>(value.getType()) ? b.widen(value) : value;
}

void GpuEmitter::store(Value value, const Memory &memory, Value row, Value column) {
  Type element = memory.type.getElementType();
  if (memory.flagged)
    return storeFlagged(value, memory, row, position(column, memory.order));
  if (element.isBF16())
    value = b.toBf16(value, /*native=*/true);
  Value rows = rowsAs(locate(memory, row), element);
  if (memory.type.getRank() == 1)
    b.write(value, rows, row);
  else
    b.write(value, rows, {row, position(column, memory.order)});
}

Value GpuEmitter::sizeOf(SharedLayout::Size size, bool before) {
  Value sizes = SharedLayout::sizeTable(b);
  Value which = before ? b.sub(b.index(1), copy()) : copy();
  return b.toIndex(b.read(sizes, {which, b.index(size)}));
}

FailureOr<RingPlace> GpuEmitter::emit() {
  if (failed(bindOperands()))
    return failure();
  switch (kind.getKindClass()) {
  case mk_task::KindClass::tiles:
    return emitLinear();
  case mk_task::KindClass::columns:
    return emitColumns();
  case mk_task::KindClass::attend:
    return emitAttend();
  case mk_task::KindClass::serial:
    return emitSerial();
  case mk_task::KindClass::experts:
    return emitExperts();
  }
  return failure();
}
