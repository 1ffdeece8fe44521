// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Functions of one number, with PyTorch's limits and what it makes of what is no number.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;
using arith::CmpFPredicate;

using Function = Value (*)(Scalars &s, Value x, ArrayRef<double> p);

/// `function` of the first operand; the numbers behind it are its parameters.
template <Function function, unsigned parameters = 0>
static std::optional<Meaning> apply(Conversion &conversion, Operation *op) {
  SmallVector<double> given;
  for (Value operand : op->getOperands().slice(1, parameters)) {
    std::optional<double> number = readNumber(operand);
    if (!number)
      return std::nullopt;
    given.push_back(*number);
  }
  std::optional<TorchTensorType> type = parseTorchTensor(op->getOperand(0).getType()),
                                 made = parseTorchTensor(op->getResult(0).getType());
  std::optional<Kind> kind = made ? kindOfElements(made->elementType) : std::nullopt;
  if (!type || !type->isFloatingPoint() || !kind || *kind == Kind::Whole) {
    conversion.note("it is of integers or booleans");
    return std::nullopt;
  }
  return mapPoints(
      conversion, op->getLoc(), conversion.get(op->getOperand(0)),
      [&](Scalars &s, ArrayRef<Value> x) { return function(s, x[0], given); }, *kind);
}

template <typename OpTy> static Value plain(Scalars &s, Value x, ArrayRef<double>) {
  return s.make<OpTy>(x);
}
static Value above(Scalars &s, Value x, double border) {
  return s.compare(CmpFPredicate::OGT, x, s.c(border));
}
static Value negative(Scalars &s, Value x) { return s.make<arith::NegFOp>(x); }
static Value sigmoid(Scalars &s, Value x, ArrayRef<double> = {}) {
  return s.div(s.c(1), s.add(s.c(1), s.exp(negative(s, x))));
}
static Value silu(Scalars &s, Value x, ArrayRef<double>) {
  return s.div(x, s.add(s.c(1), s.exp(negative(s, x))));
}
static Value relu(Scalars &s, Value x, ArrayRef<double>) { return s.max(x, s.c(0)); }
static Value square(Scalars &s, Value x, ArrayRef<double>) { return s.mul(x, x); }
static Value reciprocal(Scalars &s, Value x, ArrayRef<double>) { return s.div(s.c(1), x); }
static Value clampTo(Scalars &s, Value x, double low, double high) {
  return s.min(s.max(x, s.c(low)), s.c(high));
}
static Value exp2(Scalars &s, Value x, ArrayRef<double>) {
  return s.b.create<math::PowFOp>(s.loc, s.c(2), x);
}
static Value log2(Scalars &s, Value x, ArrayRef<double>) {
  return s.mul(s.make<math::LogOp>(x), s.c(1.4426950408889634));
}
static Value log10(Scalars &s, Value x, ArrayRef<double>) {
  return s.mul(s.make<math::LogOp>(x), s.c(0.4342944819032518));
}
static Value tangent(Scalars &s, Value x, ArrayRef<double>) {
  return s.div(s.make<math::SinOp>(x), s.make<math::CosOp>(x));
}
static Value sinh(Scalars &s, Value x, ArrayRef<double>) {
  Value size = s.make<math::AbsFOp>(x), less = s.make<math::ExpM1Op>(size);
  Value result = s.mul(s.c(0.5), s.add(less, s.div(less, s.add(less, s.c(1)))));
  Value large = s.mul(s.exp(s.sub(size, s.c(1))), s.c(1.3591409142295225)); // e / 2
  result = s.select(above(s, size, 20), large, result);
  return s.select(s.compare(CmpFPredicate::OLT, x, s.c(0)), negative(s, result), result);
}
static Value cosh(Scalars &s, Value x, ArrayRef<double>) {
  Value e = s.exp(s.sub(s.make<math::AbsFOp>(x), s.c(1))); // which is finite where cosh is
  return s.add(s.mul(e, s.c(1.3591409142295225)), s.div(s.c(0.18393972058572117), e));
}
static Value erfc(Scalars &s, Value x, ArrayRef<double>) {
  return s.sub(s.c(1), s.make<math::ErfOp>(x));
}
static Value sign(Scalars &s, Value x, ArrayRef<double>) {
  Value low = s.select(s.compare(CmpFPredicate::OLT, x, s.c(0)), s.c(-1), s.c(0));
  return s.select(above(s, x, 0), s.c(1), low);
}
static Value fraction(Scalars &s, Value x, ArrayRef<double>) {
  return s.sub(x, s.make<math::TruncOp>(x));
}

/// elu(x, alpha, scale, input_scale)
static Value elu(Scalars &s, Value x, ArrayRef<double> p) {
  Value low = s.mul(s.c(p[0] * p[1]), s.make<math::ExpM1Op>(s.mul(x, s.c(p[2]))));
  return s.select(above(s, x, 0), s.mul(x, s.c(p[1])), low);
}
static Value selu(Scalars &s, Value x, ArrayRef<double>) {
  return elu(s, x, {1.6732632423543772, 1.0507009873554805, 1});
}
static Value celu(Scalars &s, Value x, ArrayRef<double> p) {
  return elu(s, x, {p[0], 1, 1 / p[0]});
}
/// softplus(x, beta, threshold)
static Value softplus(Scalars &s, Value x, ArrayRef<double> p) {
  Value scaled = s.mul(x, s.c(p[0]));
  Value soft = s.div(s.make<math::Log1pOp>(s.exp(scaled)), s.c(p[0]));
  return s.select(above(s, scaled, p[1]), x, soft);
}
static Value mish(Scalars &s, Value x, ArrayRef<double>) {
  return s.mul(x, s.make<math::TanhOp>(softplus(s, x, {1, 20})));
}
static Value leakyRelu(Scalars &s, Value x, ArrayRef<double> p) {
  return s.select(above(s, x, 0), x, s.mul(x, s.c(p[0])));
}
static Value hardtanh(Scalars &s, Value x, ArrayRef<double> p) { return clampTo(s, x, p[0], p[1]); }
static Value relu6(Scalars &s, Value x, ArrayRef<double>) { return clampTo(s, x, 0, 6); }
static Value hardsigmoid(Scalars &s, Value x, ArrayRef<double>) {
  return s.div(clampTo(s, s.add(x, s.c(3)), 0, 6), s.c(6));
}
static Value hardswish(Scalars &s, Value x, ArrayRef<double>) {
  return s.div(s.mul(x, clampTo(s, s.add(x, s.c(3)), 0, 6)), s.c(6));
}
static Value logSigmoid(Scalars &s, Value x, ArrayRef<double>) {
  Value minus = negative(s, s.make<math::AbsFOp>(x));
  return s.sub(s.min(x, s.c(0)), s.make<math::Log1pOp>(s.exp(minus)));
}
static Value softshrink(Scalars &s, Value x, ArrayRef<double> p) {
  Value low = s.select(s.compare(CmpFPredicate::OLT, x, s.c(-p[0])), s.add(x, s.c(p[0])), s.c(0));
  return s.select(s.isNan(x), x, s.select(above(s, x, p[0]), s.sub(x, s.c(p[0])), low));
}
static Value hardshrink(Scalars &s, Value x, ArrayRef<double> p) {
  Value inside = s.both(s.compare(CmpFPredicate::OGE, x, s.c(-p[0])),
                        s.compare(CmpFPredicate::OLE, x, s.c(p[0])));
  return s.select(inside, s.c(0), x);
}
/// threshold(x, threshold, value)
static Value threshold(Scalars &s, Value x, ArrayRef<double> p) {
  return s.select(s.compare(CmpFPredicate::OLE, x, s.c(p[0])), s.c(p[1]), x);
}
static Value isNan(Scalars &s, Value x, ArrayRef<double>) { return s.fromTruth(s.isNan(x)); }
static Value isInf(Scalars &s, Value x, ArrayRef<double>) {
  Value size = s.make<math::AbsFOp>(x);
  return s.fromTruth(
      s.compare(CmpFPredicate::OEQ, size, s.c(std::numeric_limits<double>::infinity())));
}
static Value isFinite(Scalars &s, Value x, ArrayRef<double>) {
  Value size = s.make<math::AbsFOp>(x);
  return s.fromTruth(
      s.compare(CmpFPredicate::OLT, size, s.c(std::numeric_limits<double>::infinity())));
}
static Value gelu(Scalars &s, Value x, ArrayRef<double>) {
  Value erf = s.make<math::ErfOp>(s.mul(x, s.c(0.70710678118654752)));
  return s.mul(s.mul(x, s.c(0.5)), s.add(s.c(1), erf));
}
static Value geluTanh(Scalars &s, Value x, ArrayRef<double>) {
  Value cubic = s.mul(s.mul(s.mul(x, x), x), s.c(0.044715));
  Value inner = s.mul(s.c(0.79788456080286536), s.add(x, cubic));
  return s.mul(s.mul(x, s.c(0.5)), s.add(s.c(1), s.make<math::TanhOp>(inner)));
}

/// torch.aten.gelu(x, approximate)
static std::optional<Meaning> geluOf(Conversion &conversion, Operation *op) {
  std::optional<StringRef> form = readString(op->getOperand(1));
  if (form == "none")
    return apply<gelu>(conversion, op);
  return form == "tanh" ? apply<geluTanh>(conversion, op) : std::nullopt;
}

void mk::addGenericActivationRules(Rules &rules) {
  auto add = [&](StringRef name, Rule rule, unsigned operands = 1) {
    rules.add(("torch.aten." + name).str(), operands, rule);
  };
  add("neg", apply<plain<arith::NegFOp>>);
  add("abs", apply<plain<math::AbsFOp>>);
  add("exp", apply<plain<math::ExpOp>>);
  add("exp2", apply<exp2>);
  add("expm1", apply<plain<math::ExpM1Op>>);
  add("log", apply<plain<math::LogOp>>);
  add("log2", apply<log2>);
  add("log10", apply<log10>);
  add("log1p", apply<plain<math::Log1pOp>>);
  add("sqrt", apply<plain<math::SqrtOp>>);
  add("rsqrt", apply<plain<math::RsqrtOp>>);
  add("square", apply<square>);
  add("reciprocal", apply<reciprocal>);
  add("sin", apply<plain<math::SinOp>>);
  add("cos", apply<plain<math::CosOp>>);
  add("tan", apply<tangent>);
  add("tanh", apply<plain<math::TanhOp>>);
  add("sinh", apply<sinh>);
  add("cosh", apply<cosh>);
  add("erf", apply<plain<math::ErfOp>>);
  add("erfc", apply<erfc>);
  add("floor", apply<plain<math::FloorOp>>);
  add("ceil", apply<plain<math::CeilOp>>);
  add("round", apply<plain<math::RoundEvenOp>>);
  add("trunc", apply<plain<math::TruncOp>>);
  add("frac", apply<fraction>);
  add("sign", apply<sign>);
  add("sgn", apply<sign>);
  add("sigmoid", apply<sigmoid>);
  add("silu", apply<silu>);
  add("gelu", geluOf, 2);
  add("relu", apply<relu>);
  add("relu6", apply<relu6>);
  add("elu", apply<elu, 3>, 4);
  add("selu", apply<selu>);
  add("celu", apply<celu, 1>, 2);
  add("softplus", apply<softplus, 2>, 3);
  add("mish", apply<mish>);
  add("leaky_relu", apply<leakyRelu, 1>, 2);
  add("hardtanh", apply<hardtanh, 2>, 3);
  add("hardsigmoid", apply<hardsigmoid>);
  add("hardswish", apply<hardswish>);
  add("log_sigmoid", apply<logSigmoid>);
  add("softshrink", apply<softshrink, 1>, 2);
  add("hardshrink", apply<hardshrink, 1>, 2);
  add("threshold", apply<threshold, 2>, 3);
  add("isnan", apply<isNan>);
  add("isinf", apply<isInf>);
  add("isfinite", apply<isFinite>);
}
