// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What orders the numbers along a dimension: the rank of a number is how many come before it.

#include "passes/import/GenericPlaces.h"

using namespace mlir;
using namespace mlir::mk;
using arith::CmpFPredicate;
using arith::CmpIPredicate;

using Maybe = std::optional<Meaning>;

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

static Maybe takeRanked(Conversion &conversion, Location location, const Meaning &x, int64_t dim,
                        int64_t count, bool columns, bool ascending) {
  if (x.view.axes[dim].isRow())
    return refuseMixing(conversion);
  Maybe ranks = rank(conversion, location, x, dim, ascending);
  return ranks ? takeWhere(conversion, location, x, *ranks, dim, count, /*inverse=*/true, columns)
               : std::nullopt;
}

Maybe mk::takeLargest(Conversion &conversion, Location location, const Meaning &x, int64_t dim,
                      int64_t count, bool columns) {
  return takeRanked(conversion, location, x, dim, count, columns, /*ascending=*/false);
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
    return refuseMixing(conversion);
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

void mk::addGenericRankRules(Rules &rules) {
  rules.add("torch.aten.topk", 5, topk);
  rules.add("torch.aten.sort", 3, sort);
  rules.add("torch.aten.argmax", 3, extreme<false, false>);
  rules.add("torch.aten.argmin", 3, extreme<true, false>);
  rules.add("torch.aten.max.dim", 3, extreme<false, true>);
  rules.add("torch.aten.min.dim", 3, extreme<true, true>);
  rules.add("torch.aten.cumsum", 2, cumulativeSum);
}
