// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Sums, means, extremes, deviations and softmax along dimensions other than that of the tokens.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

using Maybe = std::optional<Meaning>;

Maybe mk::reduceDims(Conversion &conversion, Location location, const Meaning &x,
                     ArrayRef<int64_t> dims, StringRef combiner, Kind kind) {
  Maybe real = realize(conversion, x, location);
  if (!real)
    return std::nullopt;
  MLIRContext *context = location.getContext();
  Nest nest{getShape(real->view.axes), {}, combiner};
  SmallVector<AffineExpr> index = getDims(context, nest.shape.size());
  for (int64_t dim : dims) {
    index[dim] = getAffineDimExpr(nest.shape.size() + nest.reduced.size(), context);
    nest.reduced.push_back(nest.shape[dim]);
    nest.shape[dim] = 1;
  }
  return emitGeneric(
      conversion, location, nest, Indexed{*real, index},
      [](Scalars &, ArrayRef<Value> v, ArrayRef<Value>) { return v[0]; }, kind);
}

Meaning mk::dropAxes(Meaning x, ArrayRef<int64_t> dims) {
  SmallVector<int64_t> sorted(dims);
  llvm::sort(sorted, std::greater<>());
  for (int64_t dim : sorted)
    x.view.axes.erase(x.view.axes.begin() + dim);
  return x;
}

Maybe mk::softmaxAlong(Conversion &conversion, Location location, const Meaning &x, int64_t dim) {
  Maybe real = realize(conversion, x, location);
  Maybe largest = real ? reduceDims(conversion, location, *real, dim, "max") : std::nullopt;
  Maybe powers =
      largest ? mapPoints(conversion, location, {*real, *largest},
                          [](Scalars &s, ArrayRef<Value> v) { return s.exp(s.sub(v[0], v[1])); })
              : std::nullopt;
  Maybe total = powers ? reduceDims(conversion, location, *powers, dim, "sum") : std::nullopt;
  return total ? mapPoints(conversion, location, {*powers, *total},
                           [](Scalars &s, ArrayRef<Value> v) { return s.div(v[0], v[1]); })
               : std::nullopt;
}

namespace {
/// What an operator reduces: the numbers, the dimensions, and whether these stay as units.
struct Reduction {
  Meaning x;
  SmallVector<int64_t> dims;
  bool keeps = false;
  double count = 1; // numbers that become one
};
} // namespace

/// `dims`: an operand that is a list, one dimension, or none for all.
static std::optional<Reduction> readReduction(Conversion &conversion, Operation *op, Value dims,
                                              Value keeps) {
  Maybe x = realize(conversion, conversion.get(op->getOperand(0)), op->getLoc());
  if (!x)
    return std::nullopt;
  Reduction result;
  result.x = *x;
  int64_t rank = x->view.axes.size();
  std::optional<SmallVector<Value>> list = dims ? readList(dims) : std::nullopt;
  if (!dims || isNone(dims) || (list && list->empty())) {
    for (int64_t dim = 0; dim < rank; ++dim)
      result.dims.push_back(dim);
  } else {
    for (Value one : list.value_or(SmallVector<Value>{dims})) {
      std::optional<int64_t> dim = readDimension(one, rank);
      if (!dim)
        return std::nullopt;
      result.dims.push_back(*dim);
    }
  }
  if (keeps) {
    std::optional<bool> given = readBool(keeps);
    if (!given)
      return std::nullopt;
    result.keeps = *given;
  }
  for (int64_t dim : result.dims) {
    if (x->view.axes[dim].isRow()) {
      conversion.note("it mixes tokens");
      return std::nullopt;
    }
    result.count *= x->view.axes[dim].size;
  }
  return result;
}

static Maybe finish(const Reduction &reduction, const Maybe &result) {
  return result && !reduction.keeps ? Maybe(dropAxes(*result, reduction.dims)) : result;
}

static Value operandOr(Operation *op, int number) {
  return number >= 0 && unsigned(number) < op->getNumOperands() ? op->getOperand(number) : Value();
}

static std::optional<Kind> resultKind(Operation *op) {
  std::optional<TorchTensorType> type = parseTorchTensor(op->getResult(0).getType());
  return type ? kindOfElements(type->elementType) : std::nullopt;
}

enum class Combiner { Sum, Product, Max, Min };
static StringRef name(Combiner combiner) {
  constexpr StringLiteral names[] = {"sum", "product", "max", "min"};
  return names[size_t(combiner)];
}

/// An operator whose operands number `dims` and `keeps` say what is reduced (-1: there is none).
template <Combiner combiner, int dims, int keeps>
static Maybe reduce(Conversion &conversion, Operation *op) {
  std::optional<Reduction> r =
      readReduction(conversion, op, operandOr(op, dims), operandOr(op, keeps));
  std::optional<Kind> kind = resultKind(op);
  if (!r || !kind)
    return std::nullopt;
  double bound = r->x.kind == Kind::Flags ? 1 : r->x.bound;
  bound *= combiner == Combiner::Sum ? r->count : 1;
  bool isExact =
      combiner != Combiner::Product && r->x.kind != Kind::Indices && bound <= kExactIntegers;
  if (*kind == Kind::Whole && !isExact) {
    conversion.note("arithmetic of integers that float32 may not hold exactly");
    return std::nullopt;
  }
  Maybe result = reduceDims(conversion, op->getLoc(), r->x, r->dims, name(combiner), *kind);
  if (result)
    result->bound = bound;
  return finish(*r, result);
}

/// any is the maximum of booleans, all the minimum; of numbers, those that are not 0 count.
template <Combiner combiner, int dims, int keeps>
static Maybe ofTruths(Conversion &conversion, Operation *op) {
  std::optional<Reduction> r =
      readReduction(conversion, op, operandOr(op, dims), operandOr(op, keeps));
  if (!r)
    return std::nullopt;
  Maybe truths = mapPoints(
      conversion, op->getLoc(), r->x,
      [](Scalars &s, ArrayRef<Value> v) { return s.fromTruth(s.toTruth(v[0])); }, Kind::Flags);
  return truths ? finish(*r, reduceDims(conversion, op->getLoc(), *truths, r->dims, name(combiner),
                                        Kind::Flags))
                : std::nullopt;
}

static Maybe divided(Conversion &conversion, Location location, const Maybe &x, double divisor) {
  return x ? mapPoints(conversion, location, *x,
                       [&](Scalars &s, ArrayRef<Value> v) { return s.div(v[0], s.c(divisor)); })
           : std::nullopt;
}

template <int dims, int keeps> static Maybe mean(Conversion &conversion, Operation *op) {
  std::optional<Reduction> r =
      readReduction(conversion, op, operandOr(op, dims), operandOr(op, keeps));
  if (!r || resultKind(op) != Kind::Rows)
    return std::nullopt;
  Maybe sum = reduceDims(conversion, op->getLoc(), r->x, r->dims, "sum");
  return finish(*r, divided(conversion, op->getLoc(), sum, r->count));
}

/// The sum of squares of what is left without the mean, which goes to `mean`.
static Maybe varianceOf(Conversion &conversion, Location location, const Reduction &r,
                        double divisor, Maybe &mean) {
  mean =
      divided(conversion, location, reduceDims(conversion, location, r.x, r.dims, "sum"), r.count);
  Maybe squares = mean ? mapPoints(conversion, location, {r.x, *mean},
                                   [](Scalars &s, ArrayRef<Value> v) {
                                     Value left = s.sub(v[0], v[1]);
                                     return s.mul(left, left);
                                   })
                       : std::nullopt;
  return squares ? divided(conversion, location,
                           reduceDims(conversion, location, *squares, r.dims, "sum"), divisor)
                 : std::nullopt;
}

static Maybe rootOf(Conversion &conversion, Location location, const Maybe &x) {
  return x ? mapPoints(conversion, location, *x,
                       [](Scalars &s, ArrayRef<Value> v) { return s.make<math::SqrtOp>(v[0]); })
           : std::nullopt;
}

/// var(x, dims, correction or unbiased, keepdim), std and var_mean
template <bool isRoot, bool isUnbiasedFlag, bool withMean>
static Maybe variance(Conversion &conversion, Operation *op) {
  std::optional<Reduction> r = readReduction(conversion, op, op->getOperand(1), op->getOperand(3));
  Value given = op->getOperand(2);
  std::optional<double> correction = isNone(given) ? 1.0 : readNumber(given);
  if (isUnbiasedFlag)
    if (std::optional<bool> unbiased = readBool(given))
      correction = *unbiased;
  if (!r || !correction)
    return std::nullopt;
  Maybe mean;
  Maybe result =
      varianceOf(conversion, op->getLoc(), *r, std::max(0.0, r->count - *correction), mean);
  if (isRoot)
    result = rootOf(conversion, op->getLoc(), result);
  if (withMean && result)
    conversion.set(op->getResult(1), *finish(*r, mean));
  return finish(*r, result);
}

/// norm(x, p, dims, keepdim) for p 1, 2 and infinity
static Maybe norm(Conversion &conversion, Operation *op) {
  std::optional<Reduction> r = readReduction(conversion, op, op->getOperand(2), op->getOperand(3));
  std::optional<double> p = isNone(op->getOperand(1)) ? 2.0 : readNumber(op->getOperand(1));
  bool isLargest = p && std::isinf(*p) && *p > 0;
  if (!r || !p || (*p != 1 && *p != 2 && !isLargest))
    return std::nullopt;
  Maybe sizes = mapPoints(conversion, op->getLoc(), r->x, [&](Scalars &s, ArrayRef<Value> v) {
    return *p == 2 ? s.mul(v[0], v[0]) : s.make<math::AbsFOp>(v[0]);
  });
  Maybe result =
      sizes ? reduceDims(conversion, op->getLoc(), *sizes, r->dims, isLargest ? "max" : "sum")
            : std::nullopt;
  return finish(*r, *p == 2 ? rootOf(conversion, op->getLoc(), result) : result);
}

/// torch.aten.logsumexp(x, dims, keepdim)
static Maybe logSumExp(Conversion &conversion, Operation *op) {
  std::optional<Reduction> r = readReduction(conversion, op, op->getOperand(1), op->getOperand(2));
  if (!r)
    return std::nullopt;
  Location location = op->getLoc();
  auto finite = [](Scalars &s, Value x) { // of nothing but -inf the logarithm is -inf
    Value infinite = s.compare(arith::CmpFPredicate::OEQ, s.make<math::AbsFOp>(x),
                               s.c(std::numeric_limits<double>::infinity()));
    return s.select(infinite, s.c(0), x);
  };
  Maybe largest = reduceDims(conversion, location, r->x, r->dims, "max");
  Maybe powers = largest ? mapPoints(conversion, location, {r->x, *largest},
                                     [&](Scalars &s, ArrayRef<Value> v) {
                                       return s.exp(s.sub(v[0], finite(s, v[1])));
                                     })
                         : std::nullopt;
  Maybe total = powers ? reduceDims(conversion, location, *powers, r->dims, "sum") : std::nullopt;
  if (!total)
    return std::nullopt;
  return finish(
      *r, mapPoints(conversion, location, {*total, *largest}, [&](Scalars &s, ArrayRef<Value> v) {
        return s.add(s.make<math::LogOp>(v[0]), finite(s, v[1]));
      }));
}

/// softmax(x, dim, ..) and log_softmax
template <bool isLogarithm> static Maybe softmax(Conversion &conversion, Operation *op) {
  std::optional<Reduction> r = readReduction(conversion, op, op->getOperand(1), Value());
  if (!r || isNone(op->getOperand(1)))
    return std::nullopt;
  Location location = op->getLoc();
  if (!isLogarithm)
    return softmaxAlong(conversion, location, r->x, r->dims.front());
  Maybe largest = reduceDims(conversion, location, r->x, r->dims, "max");
  Maybe left = largest ? mapPoints(conversion, location, {r->x, *largest},
                                   [](Scalars &s, ArrayRef<Value> v) { return s.sub(v[0], v[1]); })
                       : std::nullopt;
  Maybe powers = left ? mapPoints(conversion, location, *left,
                                  [](Scalars &s, ArrayRef<Value> v) { return s.exp(v[0]); })
                      : std::nullopt;
  Maybe total = powers ? reduceDims(conversion, location, *powers, r->dims, "sum") : std::nullopt;
  return total ? mapPoints(conversion, location, {*left, *total},
                           [](Scalars &s, ArrayRef<Value> v) {
                             return s.sub(v[0], s.make<math::LogOp>(v[1]));
                           })
               : std::nullopt;
}

void mk::addGenericReductionRules(Rules &rules) {
  rules.add("torch.aten.sum.dim_IntList", 3, reduce<Combiner::Sum, 1, 2>);
  rules.add("torch.aten.sum", 1, reduce<Combiner::Sum, -1, -1>);
  rules.add("torch.aten.prod.dim_int", 3, reduce<Combiner::Product, 1, 2>);
  rules.add("torch.aten.amax", 3, reduce<Combiner::Max, 1, 2>);
  rules.add("torch.aten.amin", 3, reduce<Combiner::Min, 1, 2>);
  rules.add("torch.aten.any.dim", 3, ofTruths<Combiner::Max, 1, 2>);
  rules.add("torch.aten.all.dim", 3, ofTruths<Combiner::Min, 1, 2>);
  rules.add("torch.aten.mean.dim", 3, mean<1, 2>);
  rules.add("torch.aten.mean", 1, mean<-1, -1>);
  rules.add("torch.aten.var.correction", 4, variance<false, false, false>);
  rules.add("torch.aten.var.dim", 4, variance<false, true, false>);
  rules.add("torch.aten.std.correction", 4, variance<true, false, false>);
  rules.add("torch.aten.std.dim", 4, variance<true, true, false>);
  rules.add("torch.aten.var_mean.correction", 4, variance<false, false, true>);
  rules.add("torch.aten.norm.ScalarOpt_dim", 4, norm);
  rules.add("torch.aten.linalg_vector_norm", 4, norm);
  rules.add("torch.aten.logsumexp", 3, logSumExp);
  for (StringRef name : {"torch.aten.softmax.int", "torch.aten._softmax"})
    rules.add(name, 2, softmax<false>);
  for (StringRef name : {"torch.aten.log_softmax.int", "torch.aten._log_softmax"})
    rules.add(name, 2, softmax<true>);
}
