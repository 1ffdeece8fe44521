// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Emits mk.generic, and sees to it that no token meets another.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

static constexpr StringLiteral kMixes = "it mixes tokens";
static constexpr unsigned kMostOperands = 13; // the words of an instruction

bool mk::isRowKind(Kind kind) {
  return kind == Kind::Rows || kind == Kind::Flags || kind == Kind::Whole;
}

bool mk::isNumbers(Kind kind) {
  return isRowKind(kind) || kind == Kind::Indices || kind == Kind::Positions ||
         kind == Kind::Table || kind == Kind::Literal;
}

std::optional<Kind> mk::kindOfElements(StringRef elementType) {
  if (elementType == "i1")
    return Kind::Flags;
  if (elementType == "si64" || elementType == "si32")
    return Kind::Whole;
  bool isFloat = elementType == "f32" || elementType == "f16" || elementType == "bf16";
  return isFloat ? std::optional(Kind::Rows) : std::nullopt;
}

SmallVector<int64_t> mk::getShape(ArrayRef<Axis> axes) {
  return llvm::map_to_vector(axes, [](const Axis &axis) { return axis.size; });
}

SmallVector<AffineExpr> mk::getDims(MLIRContext *context, int64_t count, int64_t first) {
  SmallVector<AffineExpr> dims;
  for (int64_t i = 0; i < count; ++i)
    dims.push_back(getAffineDimExpr(first + i, context));
  return dims;
}

namespace {
/// A mk.generic under construction.
struct Emitter {
  Conversion &conversion;
  Location location;
  const Nest &nest;
  MLIRContext *context = location.getContext();
  std::optional<unsigned> rowDim;
  Value domain; // of the rows, if an operand has any
  bool hasRows = false;
  SmallVector<int64_t> sizes;      // of the loop nest
  SmallVector<AffineExpr> numbers; // for each dimension of the nest its number in the op, or 0
  SmallVector<Value> inputs;       // of the op
  SmallVector<AffineMap> maps;     // of these
  SmallVector<std::optional<int>> input; // of each operand

  bool refuse(const Twine &reason) {
    conversion.note(reason);
    return false;
  }
  bool findRows(ArrayRef<Indexed> operands);
  void numberDims();
  bool addOperand(const Indexed &operand);
  Value readOperand(Scalars &s, const Indexed &operand, Value argument, ArrayRef<Value> numbers);
};
} // namespace

bool Emitter::findRows(ArrayRef<Indexed> operands) {
  for (auto [i, size] : llvm::enumerate(nest.shape))
    if (ShapedType::isDynamic(size)) {
      if (rowDim)
        return refuse(kMixes);
      rowDim = i;
    }
  if (llvm::is_contained(nest.reduced, ShapedType::kDynamic))
    return refuse(kMixes);
  for (const Indexed &operand : operands)
    for (auto [axis, index] : llvm::zip_equal(operand.meaning.view.axes, operand.index)) {
      bool isRow = rowDim && index == getAffineDimExpr(*rowDim, context);
      if (axis.isRow() ? !isRow : rowDim && index.isFunctionOfDim(*rowDim))
        return refuse(kMixes);
      if (!axis.isRow())
        continue;
      if (hasRows && operand.meaning.view.domain != domain)
        return refuse("rows of tokens meet rows of logits");
      hasRows = true;
      domain = operand.meaning.view.domain;
    }
  return true;
}

/// Sizes of one need no loop.
void Emitter::numberDims() {
  SmallVector<int64_t> all(nest.shape);
  all.append(nest.reduced.begin(), nest.reduced.end());
  for (auto [i, size] : llvm::enumerate(all)) {
    bool isLoop = size != 1 && !ShapedType::isDynamic(size);
    numbers.push_back(isLoop ? getAffineDimExpr(sizes.size(), context)
                             : getAffineConstantExpr(0, context));
    if (isLoop)
      sizes.push_back(size);
  }
}

bool Emitter::addOperand(const Indexed &operand) {
  const Meaning &meaning = operand.meaning;
  const RowView &view = meaning.view;
  if (meaning.kind == Kind::Literal) {
    input.push_back(std::nullopt);
    return true;
  }
  AffineExpr column = getAffineConstantExpr(view.offset, context);
  for (auto [axis, index] : llvm::zip_equal(view.axes, operand.index))
    if (axis.isColumn()) {
      AffineExpr at = index;
      // Of columns of which those with even number come first.
      if (view.evenFirst && &axis == &view.axes.back())
        at = index % 2 * (axis.size / 2) + index.floorDiv(2);
      column = column + at * axis.stride;
    }
  // Not simplified: what is taken modulo a size shows that it stays below it.
  column = column.replaceDims(numbers);
  Value value = view.value;
  if (meaning.kind == Kind::Table)
    value = conversion.getFlatWeight(meaning.weight, location);
  else if (hasRows && domain != view.domain) {
    // The same for every token, so for those of the logits.
    if (view.domain || cast<RankedTensorType>(value.getType()).getRank() != 2)
      return refuse("rows of tokens meet rows of logits");
    value = conversion.create<SelectRowsOp>(location, value.getType(), value, domain);
  }
  AffineMap map = AffineMap::get(sizes.size(), 0, column);
  for (auto [i, pair] : llvm::enumerate(llvm::zip_equal(inputs, maps)))
    if (std::get<0>(pair) == value && std::get<1>(pair) == map) {
      input.push_back(i);
      return true;
    }
  input.push_back(inputs.size());
  inputs.push_back(value);
  maps.push_back(map);
  return inputs.size() <= kMostOperands || refuse("more operands than an instruction has");
}

/// A float32 for the operand at the point.
Value Emitter::readOperand(Scalars &s, const Indexed &operand, Value argument,
                           ArrayRef<Value> numbers) {
  const Meaning &meaning = operand.meaning;
  if (meaning.kind == Kind::Literal) {
    SmallVector<double> elements = meaning.literal;
    if (llvm::all_equal(elements))
      return s.c(elements.front());
    // A choice by the place of the element, which the axes' strides count.
    Value place = s.i(meaning.view.offset), result = s.c(elements.front());
    for (auto [axis, index] : llvm::zip_equal(meaning.view.axes, operand.index))
      if (axis.isColumn()) {
        Value number = numbers[cast<AffineDimExpr>(index).getPosition()];
        number = s.b.create<arith::MulIOp>(s.loc, number, s.i(axis.stride));
        place = s.b.create<arith::AddIOp>(s.loc, place, number);
      }
    for (auto [i, element] : llvm::enumerate(elements))
      result = s.select(s.b.create<arith::CmpIOp>(s.loc, arith::CmpIPredicate::eq, place, s.i(i)),
                        s.c(element), result);
    return result;
  }
  if (argument.getType().isInteger(32)) {
    Value number = s.b.create<arith::SIToFPOp>(s.loc, s.b.getF32Type(), argument);
    return meaning.number != 0 && meaning.kind == Kind::Indices ? s.add(number, s.c(meaning.number))
                                                                : number;
  }
  return argument;
}

std::optional<Meaning> mk::emitGeneric(Conversion &conversion, Location location, const Nest &nest,
                                       ArrayRef<Indexed> operands, Region region, Kind kind) {
  Emitter emitter{conversion, location, nest};
  if (!emitter.findRows(operands))
    return std::nullopt;
  emitter.numberDims();
  for (const Indexed &operand : operands) {
    if (operand.meaning.kind == Kind::Literal && !llvm::all_equal(operand.meaning.literal))
      for (auto [axis, index] : llvm::zip_equal(operand.meaning.view.axes, operand.index))
        if (axis.isColumn() && !isa<AffineDimExpr>(index))
          return std::nullopt;
    if (!emitter.addOperand(operand))
      return std::nullopt;
  }
  auto hasRows = [](Value value) {
    return cast<RankedTensorType>(value.getType()).isDynamicDim(0);
  };
  SmallVector<Value> inputs = emitter.inputs;
  SmallVector<AffineMap> maps = emitter.maps;
  Value domain = emitter.domain;
  if (llvm::none_of(inputs, hasRows)) { // the same for every token; one says which there are
    inputs.push_back(domain ? domain : conversion.getInput("positions"));
    maps.push_back(
        AffineMap::get(emitter.sizes.size(), 0, getAffineConstantExpr(0, emitter.context)));
  }

  OpBuilder &builder = conversion.getBuilder();
  OpBuilder::InsertionGuard guard(builder);
  Axes axes;
  int64_t columns = 1;
  for (int64_t size : llvm::reverse(nest.shape)) {
    bool isRow = ShapedType::isDynamic(size);
    axes.insert(axes.begin(), isRow ? Axis::row() : Axis::columns(size, columns));
    columns *= isRow ? 1 : size;
  }
  int64_t reductions = llvm::count_if(nest.reduced, [](int64_t size) { return size != 1; });
  auto generic = builder.create<GenericOp>(
      location, conversion.getRowsType(columns), inputs, ValueRange(), emitter.sizes,
      reductions ? conversion.getI64(reductions) : IntegerAttr(),
      reductions ? builder.getStringAttr(nest.combiner) : StringAttr(),
      builder.getAffineMapArrayAttr(maps));
  Block *block = builder.createBlock(&generic.getBody());
  for (Value value : inputs) {
    bool isInteger = cast<RankedTensorType>(value.getType()).getElementType().isInteger(32);
    block->addArgument(isInteger ? Type(builder.getI32Type()) : Type(builder.getF32Type()),
                       location);
  }
  Scalars s{builder, location};
  SmallVector<Value> numbers, values;
  for (AffineExpr number : emitter.numbers) {
    if (auto dim = dyn_cast<AffineDimExpr>(number))
      numbers.push_back(
          builder.create<IterationOp>(location, conversion.getI64(dim.getPosition())));
    else
      numbers.push_back(s.i(0));
  }
  for (auto [operand, input] : llvm::zip_equal(operands, emitter.input))
    values.push_back(
        emitter.readOperand(s, operand, input ? block->getArgument(*input) : Value(), numbers));
  builder.create<YieldOp>(location, region(s, values, numbers));
  for (Operation &inner : llvm::make_early_inc_range(llvm::reverse(*block)))
    if (!isa<YieldOp>(inner) && inner.use_empty())
      inner.erase();
  Meaning result = conversion.makeRows(generic.getResult(), axes, domain);
  result.kind = kind;
  for (const Indexed &operand : operands) // who computes with integers says another one
    result.bound = std::max(result.bound, operand.meaning.bound);
  return result;
}

std::optional<SmallVector<int64_t>> mk::broadcast(Conversion &conversion,
                                                  MutableArrayRef<Indexed> operands) {
  size_t rank = 0;
  for (const Indexed &operand : operands)
    rank = std::max(rank, operand.meaning.view.axes.size());
  SmallVector<int64_t> shape(rank, 1);
  for (Indexed &operand : operands) {
    operand.meaning.view.axes = padAxes(operand.meaning.view.axes, rank);
    for (auto [size, axis] : llvm::zip_equal(shape, operand.meaning.view.axes)) {
      if (axis.isUnit())
        continue;
      if (size != 1 && size != axis.size) {
        conversion.note(kMixes);
        return std::nullopt;
      }
      size = axis.size;
    }
  }
  if (llvm::count(shape, ShapedType::kDynamic) > 1) {
    conversion.note(kMixes);
    return std::nullopt;
  }
  MLIRContext *context = conversion.getBuilder().getContext();
  for (Indexed &operand : operands) {
    operand.index = getDims(context, rank);
    for (auto [index, axis] : llvm::zip_equal(operand.index, operand.meaning.view.axes))
      if (axis.isUnit())
        index = getAffineConstantExpr(0, context);
  }
  return shape;
}

std::optional<Meaning> mk::mapPoints(Conversion &conversion, Location location,
                                     ArrayRef<Meaning> operands,
                                     function_ref<Value(Scalars &, ArrayRef<Value>)> region,
                                     Kind kind) {
  SmallVector<Indexed, 4> indexed;
  for (const Meaning &operand : operands) {
    std::optional<Meaning> real = realize(conversion, operand, location);
    if (!real)
      return std::nullopt;
    indexed.push_back({*real, {}});
  }
  std::optional<SmallVector<int64_t>> shape = broadcast(conversion, indexed);
  if (!shape)
    return std::nullopt;
  return emitGeneric(
      conversion, location, {*shape, {}, ""}, indexed,
      [&](Scalars &s, ArrayRef<Value> values, ArrayRef<Value>) { return region(s, values); }, kind);
}

std::optional<Meaning> mk::copyPlain(Conversion &conversion, const Meaning &meaning,
                                     Location location) {
  std::optional<Meaning> real = realize(conversion, meaning, location);
  if (!real)
    return std::nullopt;
  Kind kind = real->kind;
  if (kind == Kind::Indices)
    kind = Kind::Whole;
  else if (kind == Kind::Positions || kind == Kind::Table || kind == Kind::Literal)
    kind = real->numbers;
  std::optional<Meaning> copy = mapPoints(
      conversion, location, *real, [](Scalars &, ArrayRef<Value> x) { return x[0]; }, kind);
  if (copy)
    copy->bound = real->bound;
  return copy;
}
