// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/cpu/KindEmitter.h"

using namespace mlir;
using namespace mlir::mk;

KindEmitter::KindEmitter(CodeBuilder &builder, mk_task::ProgramOp program, mk_task::KindOp kind,
                         Value context, Value instruction, Value worker)
    : b(builder), program(program), kind(kind), context(context), instruction(instruction),
      target(getTarget(program)), options(getOptions(program)), lanes(target.getLanes()),
      nativeBf16(target.getFeatures().contains("avx512bf16")) {
  privateBase = b.mul(worker, b.create<mk_cta::ContextWordOp>(context, "scratch_bytes"));
}

LogicalResult KindEmitter::refuse(Operation *op, const Twine &why) {
  return op->emitOpError() << why << " (in kind '" << kind.getSymName() << "'"
                           << (getModulePath(op).empty() ? "" : ", at " + getModulePath(op)) << ")";
}

Value KindEmitter::view(StringRef arena, Value offset, ArrayRef<int64_t> shape,
                        ArrayRef<int64_t> strides, Type element) {
  auto layout = StridedLayoutAttr::get(b.getContext(), 0, strides);
  return b.create<mk_cta::ViewOp>(MemRefType::get(shape, element, layout), context, arena, offset);
}

Value KindEmitter::rowsView(StringRef arena, Value offset, RankedTensorType type,
                            int64_t pitchBytes) {
  Type element = type.getElementType();
  int64_t pitch = pitchBytes * 8 / element.getIntOrFloatBitWidth();
  if (type.getRank() == 1)
    return view(arena, offset, {ShapedType::kDynamic}, {1}, element);
  return view(arena, offset, {ShapedType::kDynamic, type.getDimSize(1)}, {pitch, 1}, element);
}

Value KindEmitter::allocate(ArrayRef<int64_t> shape, Type element) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (int64_t i = int64_t(shape.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * shape[i + 1];
  Value result = view("scratch", b.add(privateBase, scratch), shape, strides, element);
  int64_t bytes = shape[0] * strides[0] * element.getIntOrFloatBitWidth() / 8;
  scratch += llvm::alignTo(bytes, 64);
  return result;
}

Value KindEmitter::request(StringRef name) {
  mk_task::RequestArray array = mk_task::findRequestArray(options, name);
  return view("request", b.index(array.offset), {array.count}, {1},
              array.getElementType(b.getContext()));
}

Value KindEmitter::readRequest(StringRef name, Value position) {
  return read(request(name), position);
}

Value KindEmitter::rowCount(mk_task::Domain domain) {
  return b.toIndex(
      readRequest(domain == mk_task::Domain::tokens ? "n_tokens" : "n_rows", b.index(0)));
}

/// Finds what every argument and result of the kind is, from one of its families: families that
/// share a kind agree in everything but the place, which the instruction holds.
LogicalResult KindEmitter::bindOperands() {
  mk_task::FamilyOp family;
  for (auto candidate : program.getOps<mk_task::FamilyOp>())
    if (candidate.getKind() == kind.getSymName()) {
      family = candidate;
      break;
    }
  if (!family)
    return kind.emitOpError("expects a family that uses it, found none");

  auto bytes = [&](int64_t word) { return b.mul(field("operand", word), 64); };
  auto buffer = [&](mk_task::BufferOp op, int64_t word) {
    return rowsView(op.getRequest() ? "request" : "activations", bytes(word),
                    cast<RankedTensorType>(op.getType()), op.getPitch());
  };
  Block &body = kind.getBody().front();
  int64_t word = 0;
  for (auto [argument, symbol] : llvm::zip_equal(body.getArguments(), family.getOperands())) {
    Operation *op = SymbolTable::lookupSymbolIn(program, cast<FlatSymbolRefAttr>(symbol));
    if (auto bufferOp = dyn_cast_or_null<mk_task::BufferOp>(op)) {
      memory[argument] = buffer(bufferOp, word);
    } else if (isa_and_nonnull<mk_task::CacheOp>(op)) {
      memory[argument] = field("operand", word);
    } else if (auto weight = dyn_cast_or_null<mk_task::WeightOp>(op)) {
      auto type = cast<RankedTensorType>(argument.getType());
      if (weight.getLayout() == mk_task::Layout::rows)
        memory[argument] = rowsView("params", bytes(word), type,
                                    type.getShape().back() * type.getElementTypeBitWidth() / 8);
      else {
        tiled[argument] = weight;
        if (weight.getGathered()) // the array of the tiles' places
          memory[argument] =
              view("params", bytes(word), {ShapedType::kDynamic}, {1}, b.getI32Type());
      }
    } else {
      return family.emitOpError() << "expects a buffer, cache or weight, got " << symbol;
    }
    ++word;
  }
  for (auto [value, symbol] :
       llvm::zip_equal(kind.getYield()->getOperands(), family.getOutputs())) {
    Operation *op = SymbolTable::lookupSymbolIn(program, cast<FlatSymbolRefAttr>(symbol));
    auto bufferOp = dyn_cast_or_null<mk_task::BufferOp>(op);
    outputs.push_back({value, bufferOp ? buffer(bufferOp, word++) : Value()});
  }
  if (word > mk_task::kMaxOperands)
    return kind.emitOpError() << "expects at most " << mk_task::kMaxOperands
                              << " operands and results, got " << word;
  return success();
}

Value KindEmitter::memoryOf(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    Operation *parent = argument.getOwner()->getParentOp();
    if (auto linear = dyn_cast<LinearOp>(parent))
      value = linear.getInput();
    if (auto rowwise = dyn_cast<RowwiseOp>(parent))
      value = rowwise.getInputs()[argument.getArgNumber()];
  }
  Value result = memory.lookup(value);
  assert(result && "not a value in memory");
  return result;
}

/// Lanes at and beyond `valid` are neither read nor written: they may lie outside the row.
Value KindEmitter::load(Value source, const Place &place) {
  auto type = cast<MemRefType>(source.getType());
  VectorType result = vector(type.getElementType(), place.width);
  SmallVector<Value> indices;
  if (type.getRank() == 2)
    indices.push_back(place.row);
  indices.push_back(at(place.column));
  if (!place.valid)
    return b.widen(b.create<vector::LoadOp>(result, source, indices));
  Value mask =
      b.create<vector::CreateMaskOp>(vector(b.getI1Type(), place.width), ValueRange(place.valid));
  Value zero = b.create<arith::ConstantOp>(b.getZeroAttr(result));
  return b.widen(b.create<vector::MaskedLoadOp>(result, source, indices, mask, zero));
}

void KindEmitter::store(Value value, Value target, const Place &place) {
  auto type = cast<MemRefType>(target.getType());
  value = narrow(value, type.getElementType());
  SmallVector<Value> indices;
  if (type.getRank() == 2)
    indices.push_back(place.row);
  indices.push_back(at(place.column));
  if (!place.valid) {
    b.create<vector::StoreOp>(value, target, indices);
    return;
  }
  Value mask =
      b.create<vector::CreateMaskOp>(vector(b.getI1Type(), place.width), ValueRange(place.valid));
  b.create<vector::MaskedStoreOp>(target, indices, mask, value);
}

LogicalResult KindEmitter::emit() {
  if (failed(bindOperands()))
    return failure();
  switch (kind.getKindClass()) {
  case mk_task::KindClass::tiles:
    return emitTiles();
  case mk_task::KindClass::experts:
    return emitExperts();
  case mk_task::KindClass::columns:
    return emitColumns();
  case mk_task::KindClass::attend:
    return emitAttend();
  case mk_task::KindClass::serial:
    return emitSerial();
  }
  return failure();
}
