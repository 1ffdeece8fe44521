// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Operators that look at numbers in another order where the view of rows cannot: they are copied,
// or seen with an axis that repeats them.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

static std::optional<Meaning> mixes(Conversion &conversion) {
  conversion.note("it mixes tokens");
  return std::nullopt;
}

static std::optional<Meaning> realizeOperand(Conversion &conversion, Operation *op,
                                             unsigned number = 0) {
  return realize(conversion, conversion.get(op->getOperand(number)), op->getLoc());
}

/// The result type has the shape that torch made of the operands; of numbers that do not lie so,
/// a copy does.
static std::optional<Meaning> reshape(Conversion &conversion, Operation *op) {
  std::optional<Meaning> x = realizeOperand(conversion, op);
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  if (!x || !type)
    return std::nullopt;
  std::optional<Axes> axes = reshapeAxes(x->view.axes, type->shape);
  if (!axes) {
    x = copyPlain(conversion, *x, op->getLoc());
    axes = x ? reshapeAxes(x->view.axes, type->shape) : std::nullopt;
  }
  if (!axes)
    return mixes(conversion);
  x->view.axes = *axes;
  return x;
}

/// Whether the value is the number of rows that the axis of some tensor has.
static bool countsRows(Conversion &conversion, Value value, Value domain) {
  Operation *size = value.getDefiningOp();
  if (!size || size->getName().getStringRef() != "torch.aten.size.int")
    return false;
  Meaning x = conversion.get(size->getOperand(0));
  Axes axes = x.getAxes();
  std::optional<int64_t> dim = readDimension(size->getOperand(1), axes.size());
  return dim && axes[*dim].isRow() && x.view.domain == domain;
}

/// torch.aten.expand(x, sizes, implicit): an axis of one that repeats.
static std::optional<Meaning> expand(Conversion &conversion, Operation *op) {
  std::optional<Meaning> x = realizeOperand(conversion, op);
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  std::optional<SmallVector<Value>> sizes = readList(op->getOperand(1));
  if (!x || !type || !sizes || sizes->size() != type->shape.size() ||
      type->shape.size() < x->view.axes.size())
    return std::nullopt;
  Axes axes = padAxes(x->view.axes, type->shape.size());
  bool hasRow = llvm::any_of(axes, [](const Axis &axis) { return axis.isRow(); });
  for (auto [axis, size, value] : llvm::zip_equal(axes, type->shape, *sizes)) {
    if (axis.size == size)
      continue;
    if (!axis.isUnit())
      return mixes(conversion);
    bool isRow = ShapedType::isDynamic(size);
    if (isRow && (hasRow || !countsRows(conversion, value, x->view.domain)))
      return mixes(conversion);
    hasRow |= isRow;
    axis = isRow ? Axis::row() : Axis::columns(size, 0);
  }
  if (hasRow && (x->kind == Kind::Table || x->kind == Kind::Literal)) {
    Axes plain = x->view.axes; // a value that has rows, the same in each
    x = copyPlain(conversion, *x, op->getLoc());
    if (!x)
      return std::nullopt;
    Axes copied = padAxes(x->view.axes, axes.size());
    for (auto [axis, from] : llvm::zip_equal(axes, copied))
      if (!from.isUnit())
        axis = from;
  }
  x->view.axes = axes;
  return x;
}

/// torch.aten.flip(x, dims)
static std::optional<Meaning> flip(Conversion &conversion, Operation *op) {
  std::optional<Meaning> x = realizeOperand(conversion, op);
  std::optional<SmallVector<int64_t>> dims = readIntList(op->getOperand(1));
  if (!x || !dims)
    return std::nullopt;
  int64_t rank = x->view.axes.size();
  SmallVector<AffineExpr> index = getDims(op->getContext(), rank);
  for (int64_t dim : *dims) {
    dim = dim < 0 ? dim + rank : dim;
    if (dim < 0 || dim >= rank)
      return std::nullopt;
    if (x->view.axes[dim].isRow())
      return mixes(conversion);
    index[dim] = x->view.axes[dim].size - 1 - index[dim];
  }
  return emitGeneric(
      conversion, op->getLoc(), {getShape(x->view.axes), {}, ""}, Indexed{*x, index},
      [](Scalars &, ArrayRef<Value> v, ArrayRef<Value>) { return v[0]; },
      isRowKind(x->kind) ? x->kind : x->numbers);
}

/// torch.aten.roll(x, shifts, dims)
static std::optional<Meaning> roll(Conversion &conversion, Operation *op) {
  std::optional<Meaning> x = realizeOperand(conversion, op);
  std::optional<SmallVector<int64_t>> shifts = readIntList(op->getOperand(1)),
                                      dims = readIntList(op->getOperand(2));
  if (!x || !shifts || !dims || dims->size() != shifts->size())
    return std::nullopt;
  int64_t rank = x->view.axes.size();
  SmallVector<AffineExpr> index = getDims(op->getContext(), rank);
  for (auto [shift, dim] : llvm::zip_equal(*shifts, *dims)) {
    dim = dim < 0 ? dim + rank : dim;
    if (dim < 0 || dim >= rank)
      return std::nullopt;
    if (x->view.axes[dim].isRow())
      return mixes(conversion);
    int64_t size = x->view.axes[dim].size, from = ((-shift) % size + size) % size;
    index[dim] = (index[dim] + from) % size;
  }
  return emitGeneric(
      conversion, op->getLoc(), {getShape(x->view.axes), {}, ""}, Indexed{*x, index},
      [](Scalars &, ArrayRef<Value> v, ArrayRef<Value>) { return v[0]; },
      isRowKind(x->kind) ? x->kind : x->numbers);
}

/// torch.aten.repeat(x, repeats)
static std::optional<Meaning> repeat(Conversion &conversion, Operation *op) {
  std::optional<Meaning> x = realizeOperand(conversion, op);
  std::optional<SmallVector<int64_t>> repeats = readIntList(op->getOperand(1));
  if (!x || !repeats || repeats->size() < x->view.axes.size())
    return std::nullopt;
  x->view.axes = padAxes(x->view.axes, repeats->size());
  SmallVector<int64_t> shape = getShape(x->view.axes);
  SmallVector<AffineExpr> index = getDims(op->getContext(), shape.size());
  for (auto [axis, size, count, at] : llvm::zip_equal(x->view.axes, shape, *repeats, index)) {
    if (count == 1)
      continue;
    if (axis.isRow() || count < 1)
      return mixes(conversion);
    at = at % axis.size;
    size *= count;
  }
  return emitGeneric(
      conversion, op->getLoc(), {shape, {}, ""}, Indexed{*x, index},
      [](Scalars &, ArrayRef<Value> v, ArrayRef<Value>) { return v[0]; },
      isRowKind(x->kind) ? x->kind : x->numbers);
}

/// torch.aten.repeat_interleave.self_int(x, count, dim, output_size)
static std::optional<Meaning> repeatEach(Conversion &conversion, Operation *op) {
  std::optional<Meaning> x = realizeOperand(conversion, op);
  std::optional<int64_t> count = readInt(op->getOperand(1));
  std::optional<int64_t> dim =
      x ? readDimension(op->getOperand(2), x->view.axes.size()) : std::nullopt;
  if (!x || !count || !dim || *count < 1)
    return std::nullopt;
  if (x->view.axes[*dim].isRow())
    return mixes(conversion);
  SmallVector<int64_t> shape = getShape(x->view.axes);
  SmallVector<AffineExpr> index = getDims(op->getContext(), shape.size());
  shape[*dim] *= *count;
  index[*dim] = index[*dim].floorDiv(*count);
  return emitGeneric(
      conversion, op->getLoc(), {shape, {}, ""}, Indexed{*x, index},
      [](Scalars &, ArrayRef<Value> v, ArrayRef<Value>) { return v[0]; },
      isRowKind(x->kind) ? x->kind : x->numbers);
}

/// torch.prim.ListUnpack of unbind.int(x, dim)
static std::optional<Meaning> unbind(Conversion &conversion, Operation *op) {
  Operation *list = op->getOperand(0).getDefiningOp();
  if (!list || list->getName().getStringRef() != "torch.aten.unbind.int")
    return std::nullopt;
  std::optional<Meaning> x = realize(conversion, conversion.get(list->getOperand(0)), op->getLoc());
  std::optional<int64_t> dim =
      x ? readDimension(list->getOperand(1), x->view.axes.size()) : std::nullopt;
  if (!dim)
    return std::nullopt;
  Axis axis = x->view.axes[*dim];
  if (axis.isRow())
    return mixes(conversion);
  x->view.axes.erase(x->view.axes.begin() + *dim);
  Meaning first = *x;
  for (Value result : op->getResults()) {
    conversion.set(result, *x);
    x->view.offset += axis.stride;
  }
  return first;
}

/// Numbers that the graph writes out: torch.vtensor.literal
static std::optional<Meaning> literal(Conversion &, Operation *op) {
  auto elements = op->getAttrOfType<DenseElementsAttr>("value");
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  std::optional<Kind> numbers = type ? kindOfElements(type->elementType) : std::nullopt;
  if (!elements || !numbers || elements.getNumElements() == 0)
    return std::nullopt;
  Meaning result;
  result.kind = Kind::Literal;
  result.numbers = *numbers;
  if (isa<FloatType>(elements.getElementType())) {
    for (APFloat number : elements.getValues<APFloat>())
      result.literal.push_back(number.convertToDouble());
  } else {
    bool isTruth = elements.getElementType().isInteger(1);
    for (APInt number : elements.getValues<APInt>())
      result.literal.push_back(
          double(isTruth ? int64_t(number.getZExtValue()) : number.getSExtValue()));
  }
  for (double number : result.literal)
    result.bound = std::max(result.bound, std::abs(number));
  int64_t stride = 1;
  for (int64_t size : llvm::reverse(type->shape)) {
    result.view.axes.insert(result.view.axes.begin(), Axis::columns(size, stride));
    stride *= size;
  }
  return result;
}

/// One number everywhere, in the shape of the result: `sizes` say which `?` is the rows.
static std::optional<Meaning> fillShape(Conversion &conversion, Operation *op, double number,
                                        std::optional<Axes> like, Value sizesOperand) {
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  std::optional<Kind> numbers = type ? kindOfElements(type->elementType) : std::nullopt;
  std::optional<SmallVector<Value>> sizes = sizesOperand ? readList(sizesOperand) : std::nullopt;
  if (!numbers || (!like && (!sizes || sizes->size() != type->shape.size())))
    return std::nullopt;
  Meaning result;
  result.kind = Kind::Literal;
  result.numbers = *numbers;
  result.literal = {number};
  result.bound = std::abs(number);
  bool hasRow = false;
  for (auto [i, size] : llvm::enumerate(type->shape)) {
    bool isRow = ShapedType::isDynamic(size);
    if (isRow && (hasRow || !(like ? (*like)[i].isRow() : countsRows(conversion, (*sizes)[i], {}))))
      return mixes(conversion);
    hasRow |= isRow;
    result.view.axes.push_back(isRow ? Axis::row() : Axis::columns(size, 0));
  }
  if (!hasRow)
    return result;
  Axes axes = result.view.axes;
  result.view.axes.clear();
  std::optional<Meaning> rows = copyPlain(conversion, result, op->getLoc());
  if (rows)
    rows->view.axes = axes;
  return rows;
}

/// zeros(sizes, ..), ones(sizes, ..), new_zeros(x, sizes, ..), full(sizes, number, ..)
template <int sizes, int number, int constant>
static std::optional<Meaning> fill(Conversion &conversion, Operation *op) {
  std::optional<double> value = number < 0 ? constant : readNumber(op->getOperand(number));
  return value ? fillShape(conversion, op, *value, std::nullopt, op->getOperand(sizes))
               : std::nullopt;
}

/// zeros_like(x, ..), ones_like(x, ..), full_like(x, number, ..)
template <int number, int constant>
static std::optional<Meaning> fillLike(Conversion &conversion, Operation *op) {
  std::optional<double> value = number < 0 ? constant : readNumber(op->getOperand(number));
  Meaning x = conversion.get(op->getOperand(0));
  if (!value || x.view.domain || x.kind == Kind::Refused)
    return std::nullopt;
  if (x.kind == Kind::Matrix || x.kind == Kind::Experts)
    return std::nullopt;
  return fillShape(conversion, op, *value, x.getAxes(), Value());
}

void mk::addGenericViewRules(Rules &rules) {
  for (StringRef name : {"torch.aten.view", "torch.aten.reshape", "torch.aten._unsafe_view",
                         "torch.aten.flatten.using_ints", "torch.aten.unflatten.int"})
    rules.add(name, 1, reshape);
  rules.add("torch.aten.expand", 2, expand);
  rules.add("torch.aten.flip", 2, flip);
  rules.add("torch.aten.roll", 3, roll);
  rules.add("torch.aten.repeat", 2, repeat);
  rules.add("torch.aten.repeat_interleave.self_int", 3, repeatEach);
  rules.add("torch.prim.ListUnpack", 1, unbind);
  rules.add("torch.vtensor.literal", 0, literal);
  rules.add("torch.aten.zeros", 1, fill<0, -1, 0>);
  rules.add("torch.aten.ones", 1, fill<0, -1, 1>);
  rules.add("torch.aten.new_zeros", 2, fill<1, -1, 0>);
  rules.add("torch.aten.new_ones", 2, fill<1, -1, 1>);
  rules.add("torch.aten.full", 2, fill<0, 1, 0>);
  rules.add("torch.aten.new_full", 3, fill<1, 2, 0>);
  rules.add("torch.aten.zeros_like", 1, fillLike<-1, 0>);
  rules.add("torch.aten.ones_like", 1, fillLike<-1, 1>);
  rules.add("torch.aten.full_like", 2, fillLike<1, 0>);
}
