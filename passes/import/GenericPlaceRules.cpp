// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What takes numbers by their place along a dimension, or puts them there: a sum of which one term
// counts.

#include "passes/import/GenericPlaces.h"

using namespace mlir;
using namespace mlir::mk;
using arith::CmpFPredicate;

using Maybe = std::optional<Meaning>;

Maybe mk::refuseMixing(Conversion &conversion) {
  conversion.note("it mixes tokens");
  return std::nullopt;
}

Maybe mk::takeWhere(Conversion &conversion, Location location, const Meaning &x,
                    const Meaning &place, int64_t dim, int64_t size, bool inverse, bool columns,
                    bool wraps) {
  Nest nest{getShape(inverse ? x.view.axes : place.view.axes), {x.view.axes[dim].size}, "sum"};
  nest.shape[dim] = size;
  MLIRContext *context = location.getContext();
  int64_t count = nest.shape.size(), n = x.view.axes[dim].size;
  SmallVector<AffineExpr> own = getDims(context, count), other = own;
  other[dim] = getAffineDimExpr(count, context);
  auto ofUnits = [&](const Meaning &meaning, SmallVector<AffineExpr> index) {
    for (auto [axis, at] : llvm::zip_equal(meaning.view.axes, index))
      if (axis.isUnit())
        at = getAffineConstantExpr(0, context);
    return Indexed{meaning, index};
  };
  for (auto [i, axis] : llvm::enumerate((inverse ? place : x).view.axes))
    if (int64_t(i) != dim && axis.isRow() != ShapedType::isDynamic(nest.shape[i]) && !axis.isUnit())
      return refuseMixing(conversion);
  Kind kind = columns ? Kind::Whole : isRowKind(x.kind) ? x.kind : x.numbers;
  Maybe result = emitGeneric(
      conversion, location, nest, {ofUnits(x, other), ofUnits(place, inverse ? other : own)},
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        auto number = [&](Value i) -> Value {
          return s.b.create<arith::SIToFPOp>(s.loc, s.b.getF32Type(), i);
        };
        Value j = number(numbers[count]);
        Value wanted = inverse ? number(numbers[dim]) : j;
        Value isIt = s.compare(CmpFPredicate::OEQ, v[1], wanted);
        if (wraps) // counted from the end
          isIt = s.either(isIt, s.compare(CmpFPredicate::OEQ, v[1], s.sub(wanted, s.c(double(n)))));
        return s.select(isIt, columns ? j : v[0], s.c(0));
      },
      kind);
  if (result)
    result->bound = columns ? double(n) : x.bound;
  return result;
}

bool mk::arePlaces(const Maybe &places) {
  return places && (places->kind == Kind::Whole || places->kind == Kind::Indices ||
                    (!isRowKind(places->kind) && places->numbers == Kind::Whole));
}

Maybe mk::realizeOperand(Conversion &conversion, Operation *op, unsigned number) {
  Maybe x = realize(conversion, conversion.get(op->getOperand(number)), op->getLoc());
  return x && x->kind == Kind::Literal ? copyPlain(conversion, *x, op->getLoc()) : x;
}

std::optional<int64_t> mk::readDim(const Maybe &x, Value dim) {
  return x ? readDimension(dim, x->view.axes.size()) : std::nullopt;
}

/// Whether x and places have the same sizes but along `dim`, which has no tokens; else there is a
/// note if these would meet.
static bool differOnlyAlong(Conversion &conversion, const Meaning &x, const Meaning &places,
                            int64_t dim) {
  if (x.view.axes[dim].isRow() || places.view.axes[dim].isRow()) {
    refuseMixing(conversion);
    return false;
  }
  for (auto [i, pair] : llvm::enumerate(llvm::zip_equal(x.view.axes, places.view.axes)))
    if (int64_t(i) != dim && std::get<0>(pair).size != std::get<1>(pair).size)
      return false;
  return true;
}

/// gather(x, dim, places, ..)
static Maybe gather(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op), places = realizeOperand(conversion, op, 2);
  std::optional<int64_t> dim = readDim(x, op->getOperand(1));
  if (!dim || !arePlaces(places) || places->view.axes.size() != x->view.axes.size())
    return std::nullopt;
  if (!differOnlyAlong(conversion, *x, *places, *dim))
    return std::nullopt;
  return takeWhere(conversion, op->getLoc(), *x, *places, *dim, places->view.axes[*dim].size,
                   /*inverse=*/false, /*columns=*/false);
}

/// scatter.src(x, dim, places, values) and scatter.value: at each place what goes there last, or x.
/// scatter_add: the sum of both.
template <bool adds> static Maybe scatter(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op), places = realizeOperand(conversion, op, 2), values;
  std::optional<int64_t> dim = readDim(x, op->getOperand(1));
  std::optional<double> number = readNumber(op->getOperand(3));
  if (!number)
    values = realizeOperand(conversion, op, 3);
  if (!dim || !arePlaces(places) || (!number && !values) ||
      places->view.axes.size() != x->view.axes.size() || (adds && number))
    return std::nullopt;
  if (!differOnlyAlong(conversion, *x, *places, *dim))
    return std::nullopt;
  if (values && getShape(values->view.axes) != getShape(places->view.axes))
    return std::nullopt;
  // How often, and with which sum: of places that differ, as those of a topk, each comes once.
  MLIRContext *context = op->getContext();
  int64_t count = x->view.axes.size();
  Nest nest{getShape(x->view.axes), {places->view.axes[*dim].size}, adds ? "sum" : "max"};
  SmallVector<AffineExpr> other = getDims(context, count);
  other[*dim] = getAffineDimExpr(count, context);
  auto isHere = [&](Scalars &s, Value place, ArrayRef<Value> numbers) {
    Value own = s.b.create<arith::SIToFPOp>(s.loc, s.b.getF32Type(), numbers[*dim]);
    return s.compare(CmpFPredicate::OEQ, place, own);
  };
  Location location = op->getLoc();
  Kind kind = isRowKind(x->kind) ? x->kind : x->numbers;
  if (adds) {
    Maybe sums =
        emitGeneric(conversion, location, nest, {Indexed{*values, other}, Indexed{*places, other}},
                    [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
                      return s.select(isHere(s, v[1], numbers), v[0], s.c(0));
                    });
    return sums && kind == Kind::Rows
               ? mapPoints(conversion, location, {*x, *sums},
                           [](Scalars &s, ArrayRef<Value> v) { return s.add(v[0], v[1]); })
               : std::nullopt;
  }
  // The number of the last one that goes there, plus one; 0 if none does.
  Maybe last = emitGeneric(
      conversion, location, nest, Indexed{*places, other},
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        Value j = s.b.create<arith::SIToFPOp>(s.loc, s.b.getF32Type(), numbers[count]);
        return s.select(isHere(s, v[0], numbers), s.add(j, s.c(1)), s.c(0));
      },
      Kind::Whole);
  if (!last)
    return std::nullopt;
  SmallVector<Meaning, 4> operands = {*x, *last};
  if (values) {
    Maybe from = mapPoints(
        conversion, location, *last,
        [](Scalars &s, ArrayRef<Value> v) { return s.sub(v[0], s.c(1)); }, Kind::Whole);
    Maybe taken = from ? takeWhere(conversion, location, *values, *from, *dim,
                                   x->view.axes[*dim].size, false, false)
                       : std::nullopt;
    if (!taken)
      return std::nullopt;
    operands.push_back(*taken);
  }
  return mapPoints(
      conversion, location, operands,
      [&](Scalars &s, ArrayRef<Value> v) {
        return s.select(s.toTruth(v[1]), number ? s.c(*number) : v[2], v[0]);
      },
      kind);
}

/// one_hot(places, classes)
static Maybe oneHot(Conversion &conversion, Operation *op) {
  Maybe places = realizeOperand(conversion, op);
  std::optional<int64_t> classes = readInt(op->getOperand(1));
  if (!arePlaces(places) || !classes || *classes < 1)
    return std::nullopt;
  Nest nest{getShape(places->view.axes), {}, ""};
  SmallVector<AffineExpr> index = getDims(op->getContext(), nest.shape.size());
  nest.shape.push_back(*classes);
  Maybe result = emitGeneric(
      conversion, op->getLoc(), nest, Indexed{*places, index},
      [](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        Value own = s.b.create<arith::SIToFPOp>(s.loc, s.b.getF32Type(), numbers.back());
        return s.fromTruth(s.compare(CmpFPredicate::OEQ, v[0], own));
      },
      Kind::Whole);
  if (result)
    result->bound = 1;
  return result;
}

/// index_select(x, dim, places), and index.Tensor(x, [none.., places, none..])
static Maybe takeAlong(Conversion &conversion, Location location, Maybe x, int64_t dim,
                       Maybe places) {
  if (!x || !arePlaces(places) || places->view.axes.size() != 1)
    return std::nullopt;
  if (x->view.axes[dim].isRow() || places->view.axes[0].isRow())
    return refuseMixing(conversion);
  int64_t size = places->view.axes[0].size;
  Axes axes(x->view.axes.size(), Axis::unit());
  axes[dim] = places->view.axes[0];
  // Where x has rows the places are the same in each; the nest is that of x.
  places->view.axes = axes;
  Meaning shaped = *places;
  MLIRContext *context = location.getContext();
  int64_t count = x->view.axes.size(), n = x->view.axes[dim].size;
  Nest nest{getShape(x->view.axes), {n}, "sum"};
  nest.shape[dim] = size;
  SmallVector<AffineExpr> other = getDims(context, count);
  SmallVector<AffineExpr> own(count, getAffineConstantExpr(0, context));
  own[dim] = getAffineDimExpr(dim, context);
  other[dim] = getAffineDimExpr(count, context);
  Kind kind = isRowKind(x->kind) ? x->kind : x->numbers;
  Maybe result = emitGeneric(
      conversion, location, nest, {Indexed{*x, other}, Indexed{shaped, own}},
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        Value j = s.b.create<arith::SIToFPOp>(s.loc, s.b.getF32Type(), numbers[count]);
        Value isIt = s.either(s.compare(CmpFPredicate::OEQ, v[1], j),
                              s.compare(CmpFPredicate::OEQ, v[1], s.sub(j, s.c(double(n)))));
        return s.select(isIt, v[0], s.c(0));
      },
      kind);
  if (result)
    result->bound = x->bound;
  return result;
}

static Maybe indexSelect(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op);
  std::optional<int64_t> dim = readDim(x, op->getOperand(1));
  return dim ? takeAlong(conversion, op->getLoc(), x, *dim, realizeOperand(conversion, op, 2))
             : std::nullopt;
}

static Maybe index(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op);
  std::optional<SmallVector<Value>> indices = readList(op->getOperand(1));
  if (!x || !indices || indices->size() > x->view.axes.size())
    return std::nullopt;
  std::optional<int64_t> dim;
  for (auto [i, one] : llvm::enumerate(*indices)) {
    if (isNone(one))
      continue;
    if (dim)
      return std::nullopt;
    dim = i;
  }
  if (!dim)
    return std::nullopt;
  Maybe places = realize(conversion, conversion.get((*indices)[*dim]), op->getLoc());
  if (places && places->kind == Kind::Literal)
    places = copyPlain(conversion, *places, op->getLoc());
  return takeAlong(conversion, op->getLoc(), x, *dim, places);
}

/// torch.mk.experts whose router is another than mk.topk_route: from the experts that it chose and
/// their weights, a row with a column for each expert.
static Maybe experts(Conversion &conversion, Operation *op) {
  Maybe chosen = realizeOperand(conversion, op, 1), weights = realizeOperand(conversion, op, 2);
  if (!arePlaces(chosen) || !weights || chosen->view.axes.size() != 2 ||
      weights->view.axes.size() != 2 || !chosen->view.axes[0].isRow() ||
      !(getShape(chosen->view.axes) == getShape(weights->view.axes)))
    return std::nullopt;
  int64_t count = chosen->view.axes[1].size;
  MLIRContext *context = op->getContext();
  SmallVector<AffineExpr> index = {getAffineDimExpr(0, context), getAffineDimExpr(2, context)};
  return emitExperts(conversion, op, count, [&](int64_t experts) {
    Maybe route =
        emitGeneric(conversion, op->getLoc(), {{ShapedType::kDynamic, experts}, {count}, "sum"},
                    {Indexed{*chosen, index}, Indexed{*weights, index}},
                    [](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
                      Value own = s.b.create<arith::SIToFPOp>(s.loc, s.b.getF32Type(), numbers[1]);
                      return s.select(s.compare(CmpFPredicate::OEQ, v[0], own), v[1], s.c(0));
                    });
    return route ? route->view.value : Value();
  });
}

void mk::addGenericPlaceRules(Rules &rules) {
  rules.add("torch.mk.experts", 6, experts);
  rules.add("torch.aten.gather", 3, gather);
  for (StringRef name : {"torch.aten.scatter.src", "torch.aten.scatter.value"})
    rules.add(name, 4, scatter<false>);
  rules.add("torch.aten.scatter_add", 4, scatter<true>);
  rules.add("torch.aten.one_hot", 2, oneHot);
  rules.add("torch.aten.index_select", 3, indexSelect);
  rules.add("torch.aten.index.Tensor", 2, index);
}
