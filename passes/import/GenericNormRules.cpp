// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Norms over any last dimensions, or over groups of the one after the first.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

using Maybe = std::optional<Meaning>;

/// (x - mean) / sqrt(variance + eps) over the dimensions, without the mean if not `centered`.
static Maybe normalize(Conversion &conversion, Location location, const Meaning &x,
                       ArrayRef<int64_t> dims, double epsilon, bool centered) {
  double count = 1;
  for (int64_t dim : dims) {
    if (x.view.axes[dim].isRow()) {
      conversion.note("it mixes tokens");
      return std::nullopt;
    }
    count *= x.view.axes[dim].size;
  }
  Maybe left = x;
  if (centered) {
    Maybe sum = reduceDims(conversion, location, x, dims, "sum");
    left = sum ? mapPoints(conversion, location, {x, *sum},
                           [&](Scalars &s, ArrayRef<Value> v) {
                             return s.sub(v[0], s.div(v[1], s.c(count)));
                           })
               : std::nullopt;
  }
  Maybe squares = left ? mapPoints(conversion, location, *left,
                                   [](Scalars &s, ArrayRef<Value> v) { return s.mul(v[0], v[0]); })
                       : std::nullopt;
  Maybe sum = squares ? reduceDims(conversion, location, *squares, dims, "sum") : std::nullopt;
  return sum ? mapPoints(conversion, location, {*left, *sum},
                         [&](Scalars &s, ArrayRef<Value> v) {
                           Value mean = s.add(s.div(v[1], s.c(count)), s.c(epsilon));
                           return s.mul(v[0], s.make<math::RsqrtOp>(mean));
                         })
             : std::nullopt;
}

/// Times a gain, plus a bias, unless these are none.
static Maybe scaleAndShift(Conversion &conversion, Location location, Maybe x, Value gain,
                           Value bias, function_ref<void(Meaning &)> place = nullptr) {
  for (auto [operand, isGain] : {std::pair(gain, true), std::pair(bias, false)}) {
    if (!x || !operand || isNone(operand))
      continue;
    Maybe factor = realize(conversion, conversion.get(operand), location);
    if (!factor)
      return std::nullopt;
    if (place)
      place(*factor);
    bool multiplies = isGain;
    x = mapPoints(conversion, location, {*x, *factor}, [&](Scalars &s, ArrayRef<Value> v) {
      return multiplies ? s.mul(v[0], v[1]) : s.add(v[0], v[1]);
    });
  }
  return x;
}

static SmallVector<int64_t> lastDims(int64_t rank, int64_t count) {
  SmallVector<int64_t> dims;
  for (int64_t dim = rank - count; dim < rank; ++dim)
    dims.push_back(dim);
  return dims;
}

/// layer_norm(x, shape, gain, bias, eps, ..) and rms_norm(x, shape, gain, eps)
template <bool centered> static Maybe lastNorm(Conversion &conversion, Operation *op) {
  Maybe x = realize(conversion, conversion.get(op->getOperand(0)), op->getLoc());
  std::optional<SmallVector<int64_t>> shape = readIntList(op->getOperand(1));
  Value given = op->getOperand(centered ? 4 : 3);
  // Without one it is that of the numbers' type.
  std::optional<double> epsilon = isNone(given) ? 1.1920928955078125e-07 : readNumber(given);
  if (!x || !shape || !epsilon || shape->size() > x->view.axes.size())
    return std::nullopt;
  SmallVector<int64_t> dims = lastDims(x->view.axes.size(), shape->size());
  Maybe result = normalize(conversion, op->getLoc(), *x, dims, *epsilon, centered);
  return scaleAndShift(conversion, op->getLoc(), result, op->getOperand(2),
                       centered ? op->getOperand(3) : Value());
}

/// group_norm(x, groups, gain, bias, eps, ..) of [n, channels, ...]
static Maybe groupNorm(Conversion &conversion, Operation *op) {
  Location location = op->getLoc();
  Maybe x = copyPlain(conversion, conversion.get(op->getOperand(0)), location);
  std::optional<int64_t> groups = readInt(op->getOperand(1));
  std::optional<double> epsilon = readNumber(op->getOperand(4));
  if (!x || !groups || !epsilon || x->view.axes.size() < 2)
    return std::nullopt;
  Axes whole = x->view.axes;
  SmallVector<int64_t> shape = getShape(whole);
  if (*groups < 1 || ShapedType::isDynamic(shape[1]) || shape[1] % *groups) {
    conversion.note("it mixes tokens");
    return std::nullopt;
  }
  shape[1] /= *groups;
  shape.insert(shape.begin() + 1, *groups);
  std::optional<Axes> split = reshapeAxes(whole, shape);
  if (!split)
    return std::nullopt;
  x->view.axes = *split;
  Maybe result = normalize(conversion, location, *x, lastDims(shape.size(), shape.size() - 2),
                           *epsilon, /*centered=*/true);
  std::optional<Axes> joined =
      result ? reshapeAxes(result->view.axes, getShape(whole)) : std::nullopt;
  if (!joined)
    return std::nullopt;
  result->view.axes = *joined;
  return scaleAndShift(conversion, location, result, op->getOperand(2), op->getOperand(3),
                       [&](Meaning &factor) { // one for each channel
                         factor.view.axes.append(whole.size() - 2, Axis::unit());
                       });
}

void mk::addGenericNormRules(Rules &rules) {
  rules.add("torch.aten.layer_norm", 5, lastNorm<true>);
  rules.add("torch.aten.rms_norm", 4, lastNorm<false>);
  rules.add("torch.aten.group_norm", 5, groupNorm);
}
