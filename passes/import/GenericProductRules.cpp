// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Products of what a mk.linear does not take: of activations with each other, and with weights in
// other shapes.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

using Maybe = std::optional<Meaning>;

/// a [.., M, K] @ b [.., K, P], where M or P may be missing as in torch.matmul.
static Maybe multiply(Conversion &conversion, Location location, Maybe a, Maybe b) {
  if (!a || !b || a->view.axes.empty() || b->view.axes.empty())
    return std::nullopt;
  bool isRow = a->view.axes.size() == 1, isColumn = b->view.axes.size() == 1;
  if (isRow)
    a->view.axes.insert(a->view.axes.begin(), Axis::unit());
  if (isColumn)
    b->view.axes.push_back(Axis::unit());
  size_t rank = std::max(a->view.axes.size(), b->view.axes.size());
  a->view.axes = padAxes(a->view.axes, rank);
  b->view.axes = padAxes(b->view.axes, rank);
  ArrayRef<Axis> left = a->view.axes, right = b->view.axes;
  if (left.back().isRow() || right[rank - 2].isRow()) {
    conversion.note("it mixes tokens");
    return std::nullopt;
  }
  Nest nest{{}, {left.back().size}, "sum"};
  MLIRContext *context = location.getContext();
  SmallVector<AffineExpr> leftIndex, rightIndex;
  AffineExpr zero = getAffineConstantExpr(0, context), inner = getAffineDimExpr(rank, context);
  for (size_t i = 0; i + 2 < rank; ++i) {
    AffineExpr dim = getAffineDimExpr(i, context);
    const Axis &x = left[i], &y = right[i];
    if (!x.isUnit() && !y.isUnit() && x.size != y.size) {
      conversion.note("it mixes tokens");
      return std::nullopt;
    }
    nest.shape.push_back(x.isUnit() ? y.size : x.size);
    leftIndex.push_back(x.isUnit() ? zero : dim);
    rightIndex.push_back(y.isUnit() ? zero : dim);
  }
  nest.shape.append({left[rank - 2].size, right[rank - 1].size});
  leftIndex.append({left[rank - 2].isUnit() ? zero : getAffineDimExpr(rank - 2, context), inner});
  rightIndex.append({inner, right[rank - 1].isUnit() ? zero : getAffineDimExpr(rank - 1, context)});
  Maybe result =
      emitGeneric(conversion, location, nest, {Indexed{*a, leftIndex}, Indexed{*b, rightIndex}},
                  [](Scalars &s, ArrayRef<Value> v, ArrayRef<Value>) { return s.mul(v[0], v[1]); });
  if (!result)
    return std::nullopt;
  Axes &axes = result->view.axes;
  if (isColumn)
    axes.pop_back();
  if (isRow)
    axes.erase(axes.end() - (isColumn ? 1 : 2));
  return result;
}

static Maybe realizeOperand(Conversion &conversion, Operation *op, unsigned number) {
  Maybe x = realize(conversion, conversion.get(op->getOperand(number)), op->getLoc());
  // A literal's place is counted by its own dimensions only.
  return x && x->kind == Kind::Literal ? copyPlain(conversion, *x, op->getLoc()) : x;
}

static Maybe product(Conversion &conversion, Operation *op) {
  return multiply(conversion, op->getLoc(), realizeOperand(conversion, op, 0),
                  realizeOperand(conversion, op, 1));
}

static Maybe plus(Conversion &conversion, Location location, const Maybe &x, const Maybe &y,
                  double beta = 1, double alpha = 1) {
  if (!x || !y)
    return std::nullopt;
  return mapPoints(conversion, location, {*x, *y}, [&](Scalars &s, ArrayRef<Value> v) {
    Value a = alpha == 1 ? v[0] : s.mul(v[0], s.c(alpha));
    return s.add(a, beta == 1 ? v[1] : s.mul(v[1], s.c(beta)));
  });
}

/// torch.aten.linear(x, weight, bias)
static Maybe linear(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op, 0), weight = realizeOperand(conversion, op, 1);
  if (!x || !weight || weight->view.axes.size() > 2)
    return std::nullopt;
  if (weight->view.axes.size() == 2)
    std::swap(weight->view.axes[0], weight->view.axes[1]);
  Maybe result = multiply(conversion, op->getLoc(), x, weight);
  return isNone(op->getOperand(2))
             ? result
             : plus(conversion, op->getLoc(), result, realizeOperand(conversion, op, 2));
}

/// addmm(bias, a, b, beta, alpha) and baddbmm
static Maybe productWithBias(Conversion &conversion, Operation *op) {
  std::optional<double> beta = readNumber(op->getOperand(3)), alpha = readNumber(op->getOperand(4));
  if (!beta || !alpha)
    return std::nullopt;
  Maybe result = multiply(conversion, op->getLoc(), realizeOperand(conversion, op, 1),
                          realizeOperand(conversion, op, 2));
  return plus(conversion, op->getLoc(), result, realizeOperand(conversion, op, 0), *beta, *alpha);
}

/// einsum(equation, operands, path): letters are dimensions, those not in the result are summed.
static Maybe einsum(Conversion &conversion, Operation *op) {
  std::optional<StringRef> equation = readString(op->getOperand(0));
  std::optional<SmallVector<Value>> list = readList(op->getOperand(1));
  if (!equation || !list)
    return std::nullopt;
  std::string text = equation->str();
  llvm::erase(text, ' ');
  auto [inputs, output] = StringRef(text).split("->");
  SmallVector<StringRef> terms;
  inputs.split(terms, ',');
  if (!StringRef(text).contains("->") || text.find('.') != std::string::npos ||
      terms.size() != list->size()) {
    conversion.note("an equation without a result or with an ellipsis");
    return std::nullopt;
  }
  std::string letters = output.str();
  for (char letter : inputs)
    if (letter != ',' && letters.find(letter) == std::string::npos)
      letters.push_back(letter);
  llvm::StringMap<int64_t> sizes;
  SmallVector<Indexed, 4> operands;
  for (auto [term, value] : llvm::zip_equal(terms, *list)) {
    Maybe x = realize(conversion, conversion.get(value), op->getLoc());
    if (!x || x->view.axes.size() != term.size() || x->kind == Kind::Literal)
      return std::nullopt;
    Indexed operand{*x, {}};
    for (auto [letter, axis] : llvm::zip_equal(term, x->view.axes)) {
      int64_t &size = sizes.try_emplace(StringRef(&letter, 1), 1).first->second;
      if (size != 1 && axis.size != 1 && size != axis.size) {
        conversion.note("it mixes tokens");
        return std::nullopt;
      }
      size = size == 1 ? axis.size : size;
      operand.index.push_back(axis.isUnit()
                                  ? getAffineConstantExpr(0, op->getContext())
                                  : getAffineDimExpr(letters.find(letter), op->getContext()));
    }
    operands.push_back(operand);
  }
  Nest nest{{}, {}, "sum"};
  for (size_t i = 0; i < letters.size(); ++i) {
    int64_t size = sizes.lookup(StringRef(&letters[i], 1));
    (i < output.size() ? nest.shape : nest.reduced).push_back(size);
  }
  return emitGeneric(conversion, op->getLoc(), nest, operands,
                     [](Scalars &s, ArrayRef<Value> v, ArrayRef<Value>) {
                       Value product = v[0];
                       for (Value factor : v.drop_front())
                         product = s.mul(product, factor);
                       return product;
                     });
}

void mk::addGenericProductRules(Rules &rules) {
  for (StringRef name :
       {"torch.aten.matmul", "torch.aten.mm", "torch.aten.bmm", "torch.aten.mv", "torch.aten.dot"})
    rules.add(name, 2, product);
  rules.add("torch.aten.einsum", 2, einsum);
  rules.add("torch.aten.linear", 3, linear);
  for (StringRef name : {"torch.aten.addmm", "torch.aten.baddbmm"})
    rules.add(name, 5, productWithBias);
}
