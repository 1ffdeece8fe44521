// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What orders the numbers along a dimension, or takes them by their place: the rank of a number is
// how many come before it, and a sum of which one term counts takes it.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;
using arith::CmpFPredicate;
using arith::CmpIPredicate;

using Maybe = std::optional<Meaning>;

static Maybe mixes(Conversion &conversion) {
  conversion.note("it mixes tokens");
  return std::nullopt;
}

/// For each place along the dimension how many numbers come before that at it, in descending order
/// (`ascending`: the other way round); of equals the first comes first.
static Maybe rank(Conversion &conversion, Location location, const Meaning &x, int64_t dim,
                  bool ascending) {
  Nest nest{getShape(x.view.axes), {x.view.axes[dim].size}, "sum"};
  MLIRContext *context = location.getContext();
  int64_t count = nest.shape.size();
  SmallVector<AffineExpr> own = getDims(context, count), other = own;
  other[dim] = getAffineDimExpr(count, context);
  return emitGeneric(
      conversion, location, nest, {Indexed{x, own}, Indexed{x, other}},
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        Value mine = v[0], theirs = v[1];
        // What is no number is larger than all.
        Value mineIsNone = s.isNan(mine), theirsIsNone = s.isNan(theirs);
        Value larger = s.compare(ascending ? CmpFPredicate::OLT : CmpFPredicate::OGT, theirs, mine);
        Value one = ascending ? mineIsNone : theirsIsNone,
              two = ascending ? theirsIsNone : mineIsNone;
        Value only = s.both(one, s.b.create<arith::XOrIOp>(s.loc, one, two));
        Value equal =
            s.either(s.compare(CmpFPredicate::OEQ, theirs, mine), s.both(mineIsNone, theirsIsNone));
        Value first =
            s.b.create<arith::CmpIOp>(s.loc, CmpIPredicate::slt, numbers[count], numbers[dim]);
        return s.fromTruth(s.either(s.either(larger, only), s.both(equal, first)));
      },
      Kind::Whole);
}

/// The sum over j of x[.. j ..] or of j itself where `place`[.. d ..] is j: `place` says for each
/// place of the result, along `dim`, which one it takes; or, `inverse`, for each j where it goes.
static Maybe takeWhere(Conversion &conversion, Location location, const Meaning &x,
                       const Meaning &place, int64_t dim, int64_t size, bool inverse, bool columns,
                       bool wraps = false) {
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
      return mixes(conversion);
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

static Maybe takeRanked(Conversion &conversion, Location location, const Meaning &x, int64_t dim,
                        int64_t count, bool columns, bool ascending) {
  if (x.view.axes[dim].isRow())
    return mixes(conversion);
  Maybe ranks = rank(conversion, location, x, dim, ascending);
  return ranks ? takeWhere(conversion, location, x, *ranks, dim, count, /*inverse=*/true, columns)
               : std::nullopt;
}

Maybe mk::takeLargest(Conversion &conversion, Location location, const Meaning &x, int64_t dim,
                      int64_t count, bool columns) {
  return takeRanked(conversion, location, x, dim, count, columns, /*ascending=*/false);
}

/// Places must be integers: booleans choose in another way.
static bool arePlaces(const Maybe &places) {
  return places && (places->kind == Kind::Whole || places->kind == Kind::Indices ||
                    (!isRowKind(places->kind) && places->numbers == Kind::Whole));
}

static Maybe realizeOperand(Conversion &conversion, Operation *op, unsigned number = 0) {
  Maybe x = realize(conversion, conversion.get(op->getOperand(number)), op->getLoc());
  return x && x->kind == Kind::Literal ? copyPlain(conversion, *x, op->getLoc()) : x;
}

static std::optional<int64_t> readDim(const Maybe &x, Value dim) {
  return x ? readDimension(dim, x->view.axes.size()) : std::nullopt;
}

/// topk(x, k, dim, largest, sorted) -> values, places
static Maybe topk(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op);
  std::optional<int64_t> count = readInt(op->getOperand(1)), dim = readDim(x, op->getOperand(2));
  std::optional<bool> largest = readBool(op->getOperand(3));
  if (!dim || !count || !largest || op->getNumResults() != 2 || *count < 1)
    return std::nullopt;
  Location location = op->getLoc();
  Maybe places = takeRanked(conversion, location, *x, *dim, *count, true, !*largest);
  if (places)
    conversion.set(op->getResult(1), *places);
  return places ? takeRanked(conversion, location, *x, *dim, *count, false, !*largest)
                : std::nullopt;
}

/// sort(x, dim, descending) -> values, places
static Maybe sort(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op);
  std::optional<int64_t> dim = readDim(x, op->getOperand(1));
  std::optional<bool> descending = readBool(op->getOperand(2));
  if (!dim || !descending || op->getNumResults() != 2)
    return std::nullopt;
  int64_t size = x->view.axes[*dim].size;
  Maybe places = takeRanked(conversion, op->getLoc(), *x, *dim, size, true, !*descending);
  if (places)
    conversion.set(op->getResult(1), *places);
  return places ? takeRanked(conversion, op->getLoc(), *x, *dim, size, false, !*descending)
                : std::nullopt;
}

/// argmax(x, dim, keepdim), and max.dim and min.dim -> values, places
template <bool ascending, bool withValues>
static Maybe extreme(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op);
  std::optional<int64_t> dim = readDim(x, op->getOperand(1));
  std::optional<bool> keeps = readBool(op->getOperand(2));
  if (!dim || !keeps)
    return std::nullopt;
  // A number that is none is the extreme of either kind.
  Maybe clean = x;
  if (ascending)
    clean = mapPoints(conversion, op->getLoc(), *x, [](Scalars &s, ArrayRef<Value> v) -> Value {
      Value minus = s.make<arith::NegFOp>(v[0]);
      return minus;
    });
  Maybe places =
      clean ? takeLargest(conversion, op->getLoc(), *clean, *dim, 1, true) : std::nullopt;
  if (!places)
    return std::nullopt;
  auto finish = [&](Meaning result) { return *keeps ? result : dropAxes(result, *dim); };
  if (!withValues)
    return finish(*places);
  conversion.set(op->getResult(1), finish(*places));
  Maybe values = takeLargest(conversion, op->getLoc(), *clean, *dim, 1, false);
  if (values && ascending)
    values = mapPoints(conversion, op->getLoc(), *values,
                       [](Scalars &s, ArrayRef<Value> v) { return s.make<arith::NegFOp>(v[0]); });
  return values ? Maybe(finish(*values)) : std::nullopt;
}

/// cumsum(x, dim, dtype): each place the sum of those up to it
static Maybe cumulativeSum(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op);
  std::optional<int64_t> dim = readDim(x, op->getOperand(1));
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  std::optional<Kind> kind = type ? kindOfElements(type->elementType) : std::nullopt;
  if (!dim || !kind)
    return std::nullopt;
  if (x->view.axes[*dim].isRow())
    return mixes(conversion);
  Nest nest{getShape(x->view.axes), {x->view.axes[*dim].size}, "sum"};
  double bound = (x->kind == Kind::Flags ? 1 : x->bound) * nest.reduced[0];
  if (*kind == Kind::Whole && (x->kind == Kind::Indices || bound > kExactIntegers)) {
    conversion.note("arithmetic of integers that float32 may not hold exactly");
    return std::nullopt;
  }
  int64_t count = nest.shape.size();
  SmallVector<AffineExpr> index = getDims(op->getContext(), count);
  index[*dim] = getAffineDimExpr(count, op->getContext());
  Maybe result = emitGeneric(
      conversion, op->getLoc(), nest, Indexed{*x, index},
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        Value isBehind =
            s.b.create<arith::CmpIOp>(s.loc, CmpIPredicate::sgt, numbers[count], numbers[*dim]);
        return s.select(isBehind, s.c(0), v[0]);
      },
      *kind);
  if (result)
    result->bound = bound;
  return result;
}

/// gather(x, dim, places, ..)
static Maybe gather(Conversion &conversion, Operation *op) {
  Maybe x = realizeOperand(conversion, op), places = realizeOperand(conversion, op, 2);
  std::optional<int64_t> dim = readDim(x, op->getOperand(1));
  if (!dim || !arePlaces(places) || places->view.axes.size() != x->view.axes.size())
    return std::nullopt;
  if (x->view.axes[*dim].isRow() || places->view.axes[*dim].isRow())
    return mixes(conversion);
  for (auto [i, pair] : llvm::enumerate(llvm::zip_equal(x->view.axes, places->view.axes)))
    if (int64_t(i) != *dim && std::get<0>(pair).size != std::get<1>(pair).size)
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
  if (x->view.axes[*dim].isRow() || places->view.axes[*dim].isRow())
    return mixes(conversion);
  for (auto [i, pair] : llvm::enumerate(llvm::zip_equal(x->view.axes, places->view.axes)))
    if (int64_t(i) != *dim && std::get<0>(pair).size != std::get<1>(pair).size)
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
    return mixes(conversion);
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

void mk::addGenericRankRules(Rules &rules) {
  rules.add("torch.mk.experts", 6, experts);
  rules.add("torch.aten.topk", 5, topk);
  rules.add("torch.aten.sort", 3, sort);
  rules.add("torch.aten.argmax", 3, extreme<false, false>);
  rules.add("torch.aten.argmin", 3, extreme<true, false>);
  rules.add("torch.aten.max.dim", 3, extreme<false, true>);
  rules.add("torch.aten.min.dim", 3, extreme<true, true>);
  rules.add("torch.aten.cumsum", 2, cumulativeSum);
  rules.add("torch.aten.gather", 3, gather);
  for (StringRef name : {"torch.aten.scatter.src", "torch.aten.scatter.value"})
    rules.add(name, 4, scatter<false>);
  rules.add("torch.aten.scatter_add", 4, scatter<true>);
  rules.add("torch.aten.one_hot", 2, oneHot);
  rules.add("torch.aten.index_select", 3, indexSelect);
  rules.add("torch.aten.index.Tensor", 2, index);
}
