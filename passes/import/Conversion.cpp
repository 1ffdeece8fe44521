// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What the rules share: weights by name, and rows out of views.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

LogicalResult Conversion::declareWeight(StringAttr name, ArrayRef<int64_t> shape) {
  auto [entry, isNew] = weightShapes.try_emplace(name, shape.begin(), shape.end());
  return success(isNew || ArrayRef<int64_t>(entry->second) == shape);
}

std::pair<int64_t, int64_t> Conversion::getMatrixShape(const Meaning &meaning) const {
  ArrayRef<int64_t> shape = getWeightShape(meaning.weight);
  return meaning.transposed ? std::pair(shape[1], shape[0]) : std::pair(shape[0], shape[1]);
}

Value Conversion::getWeight(const Meaning &meaning, Location location, RowOrder rows) {
  ArrayRef<int64_t> shape = getWeightShape(meaning.weight);
  double plus = meaning.kind == Kind::Vector ? meaning.number : 0;
  ViewAttr view;
  if (meaning.transposed || plus != 0 || !rows.sizes.empty())
    view = ViewAttr::get(builder.getContext(), shape, meaning.transposed, rows.offset, rows.sizes,
                         rows.strides, APFloat(plus));
  Value &weight = weights[{meaning.weight, view}];
  if (!weight) {
    SmallVector<int64_t> seen = view ? view.getViewedShape() : SmallVector<int64_t>(shape);
    Type elementType = shape.size() == 1 ? builder.getF32Type() : weightType;
    weight = create<WeightOp>(location, RankedTensorType::get(seen, elementType),
                              FlatSymbolRefAttr::get(meaning.weight), view);
  }
  return weight;
}

Value Conversion::getFlatWeight(StringAttr name, Location location) {
  ArrayRef<int64_t> shape = getWeightShape(name);
  ViewAttr view;
  if (shape.size() != 1)
    view =
        ViewAttr::get(builder.getContext(), shape, false, 0, {}, {}, APFloat(0.0), /*flat=*/true);
  Value &weight = weights[{name, view}];
  if (!weight) {
    int64_t count = 1;
    for (int64_t size : shape)
      count *= size;
    weight = create<WeightOp>(location, RankedTensorType::get({count}, builder.getF32Type()),
                              FlatSymbolRefAttr::get(name), view);
  }
  return weight;
}

/// A product of one weight, perhaps with a bias: its rows are columns of the result.
static LinearOp getProduct(Value value, WeightOp &bias) {
  if (auto add = value.getDefiningOp<AddOp>()) {
    bias = add.getRhs().getDefiningOp<WeightOp>();
    value = bias ? add.getLhs() : Value();
  }
  auto linear = value ? value.getDefiningOp<LinearOp>() : LinearOp();
  return linear && linear.getWeights().size() == 1 ? linear : LinearOp();
}

std::optional<Meaning> Conversion::gather(const Meaning &meaning, bool evenFirst,
                                          Location location) {
  const RowView &view = meaning.view;
  std::optional<int64_t> columns = countNeighbouringColumns(view.axes);
  if (meaning.kind != Kind::Rows || view.evenFirst || (columns && !evenFirst))
    return meaning;
  WeightOp bias;
  LinearOp linear = getProduct(view.value, bias);
  auto isPlain = [](WeightOp weight) {
    return weight && (!weight.getViewAttr() || weight.getViewAttr().getSizes().empty());
  };
  WeightOp matrix = linear ? linear.getWeights().front().getDefiningOp<WeightOp>() : WeightOp();
  if (!isPlain(matrix) || (bias && !isPlain(bias))) {
    note("columns in another order must be those of a product");
    return std::nullopt;
  }
  // The columns seen keep the order of their strides, so that axes stay axes.
  SmallVector<unsigned> byStride;
  for (auto [i, axis] : llvm::enumerate(view.axes))
    if (axis.isColumn())
      byStride.push_back(i);
  llvm::sort(byStride,
             [&](unsigned a, unsigned b) { return view.axes[a].stride > view.axes[b].stride; });
  RowOrder rows{view.offset, {}, {}};
  for (unsigned i : byStride) {
    rows.sizes.push_back(view.axes[i].size);
    rows.strides.push_back(view.axes[i].stride);
  }
  Axes axes = view.axes;
  int64_t count = 1;
  for (unsigned i : llvm::reverse(byStride)) {
    axes[i].stride = count;
    count *= axes[i].size;
  }
  if (evenFirst) {
    if (!(axes.back() == Axis::columns(axes.back().size, 1)) || axes.back().size % 2) {
      note("the columns of a head must be pairs of neighbours");
      return std::nullopt;
    }
    int64_t size = rows.sizes.pop_back_val(), stride = rows.strides.pop_back_val();
    rows.sizes.append({2, size / 2});
    rows.strides.append({stride, 2 * stride});
  }
  auto meaningOf = [](WeightOp weight, Kind kind) {
    Meaning result;
    result.kind = kind;
    result.weight = weight.getSourceAttr().getAttr();
    if (ViewAttr seen = weight.getViewAttr()) {
      result.transposed = seen.getTransposed();
      result.number = seen.getPlus().convertToDouble();
    }
    return result;
  };
  Type type = getRowsType(count);
  Value result =
      create<LinearOp>(linear.getLoc(), TypeRange(type), linear.getInput(),
                       ValueRange(getWeight(meaningOf(matrix, Kind::Matrix), location, rows)));
  if (bias)
    result = create<AddOp>(linear.getLoc(), type, result,
                           getWeight(meaningOf(bias, Kind::Vector), location, rows));
  Meaning gathered = makeRows(result, axes, view.domain);
  gathered.view.evenFirst = evenFirst;
  return gathered;
}

bool mk::isRowsLike(const Meaning &meaning) {
  switch (meaning.kind) {
  case Kind::Rows:
  case Kind::Silu:
  case Kind::Negated:
    return !meaning.view.evenFirst;
  case Kind::Square:
    return !meaning.centered;
  case Kind::Normalized: // of whole rows
    return countNeighbouringColumns(meaning.view.axes) == meaning.view.axes.back().size;
  default:
    return false;
  }
}

Meaning Conversion::makeInput(Value input, ArrayRef<int64_t> shape) {
  auto type = cast<RankedTensorType>(input.getType());
  Axes axes = type.getRank() == 1 ? Axes{Axis::row()} : plainAxes(type.getDimSize(1));
  Meaning meaning = makeRows(input, *reshapeAxes(axes, shape), Value());
  if (type.getRank() == 1) {
    meaning.kind = Kind::Indices;
    ownIndices.insert(input);
  }
  return meaning;
}

Value Conversion::getRows(const Meaning &meaning, Location location) {
  if (!isRowsLike(meaning)) {
    note("activation rows are needed, not " + describe(meaning.kind));
    return Value();
  }
  const RowView &view = meaning.view;
  std::optional<int64_t> columns = countNeighbouringColumns(view.axes);
  if (llvm::count_if(view.axes, [](const Axis &axis) { return axis.isRow(); }) != 1 || !columns ||
      *columns == 0) {
    note("the columns seen must be neighbours in every row");
    return Value();
  }
  RankedTensorType type = getRowsType(*columns);
  Value rows = view.value;
  if (rows.getType() != type)
    rows = create<SliceOp>(location, type, rows, builder.getI64IntegerAttr(view.offset));
  if (meaning.kind == Kind::Silu)
    return create<SiluOp>(location, type, rows);
  if (meaning.kind == Kind::Square)
    return create<MulOp>(location, type, rows, rows);
  if (meaning.kind == Kind::Negated)
    return create<ScaleOp>(location, type, rows, getF64(-1));
  if (meaning.kind == Kind::Normalized)
    return meaning.centered
               ? create<LayerNormOp>(location, type, rows, Value(), Value(), getF64(meaning.number))
               : create<RmsNormOp>(location, type, rows, Value(), getF64(meaning.number));
  return rows;
}

Value Conversion::getPlainRows(const Meaning &meaning, Location location) {
  if (!meaning.view.axes.empty() && !isRowMajor(meaning.view.axes)) {
    note("the operand must be laid out row by row, with its columns in order");
    return Value();
  }
  return getRows(meaning, location);
}

Meaning Conversion::makeRows(Value value, Axes axes, Value domain) const {
  Meaning rows;
  rows.kind = Kind::Rows;
  rows.view = RowView{value, 0, std::move(axes), domain};
  return rows;
}

std::optional<Meaning> Rules::apply(StringRef name, Conversion &conversion, Operation *op) const {
  auto found = rules.find(name);
  if (found == rules.end())
    return std::nullopt;
  for (const Entry &entry : found->second)
    if (op->getNumOperands() >= entry.operands)
      if (std::optional<Meaning> meaning = entry.rule(conversion, op))
        return meaning;
  return std::nullopt;
}
