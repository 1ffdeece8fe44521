// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The arithmetic of each elementwise op of mk, once for both machines: a builder says how it makes
// an exponential and a quotient (CodeBuilder exactly, GpuBuilder by the special function unit).
#ifndef MK_PASSES_CPU_ELEMENTWISE_H
#define MK_PASSES_CPU_ELEMENTWISE_H

#include "dialects/mk/Mk.h"
#include "passes/cpu/VectorMath.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mk {

/// Odd for |x| < 0.625 (the polynomial of Cephes), 1 - 2 / (e^2x + 1) beyond: within 4 ulp.
template <typename Builder> Value makeTanh(Builder &b, Value x) {
  auto c = [&](double value) { return b.constant(x.getType(), value); };
  Value square = b.fmul(x, x), small = c(-5.70498872745e-3);
  for (double coefficient :
       {2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1})
    small = b.fma(small, square, c(coefficient));
  small = b.fma(b.fmul(small, square), x, x);
  Value grown = b.fadd(b.fastExp(b.fadd(x, x)), c(1.0));
  Value large = b.fsub(c(1.0), b.ratio(c(2.0), grown));
  Value isSmall =
      b.template create<arith::CmpFOp>(arith::CmpFPredicate::OLT, square, c(0.625 * 0.625));
  return b.template create<arith::SelectOp>(isSmall, small, large);
}

/// A quotient of polynomials for |x| < 4, where the error function is 1 to within an ulp: 5e-7.
template <typename Builder> Value makeErf(Builder &b, Value x) {
  auto c = [&](double value) { return b.constant(x.getType(), value); };
  x = b.template create<arith::MinNumFOp>(b.fmax(x, c(-4.0)), c(4.0));
  Value square = b.fmul(x, x), above = c(-2.72614225801306e-10), below = c(-1.45660718464996e-05);
  for (double coefficient : {2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
                             -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02})
    above = b.fma(above, square, c(coefficient));
  for (double coefficient :
       {-2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02})
    below = b.fma(below, square, c(coefficient));
  return b.ratio(b.fmul(x, above), below);
}

/// 1 / (1 + e^-x), times `factor`.
template <typename Builder> Value makeLogistic(Builder &b, Value factor, Value x) {
  Value minus = b.template create<arith::NegFOp>(x);
  return b.ratio(factor, b.fadd(b.constant(x.getType(), 1.0), b.fastExp(minus)));
}

/// A column of the result of an elementwise op from those of its operands, float32 or vectors.
template <typename Builder>
Value makeElementwise(Builder &b, Operation *op, ArrayRef<Value> operands) {
  Value x = operands[0], y = operands.back();
  auto c = [&](double value) { return b.constant(x.getType(), value); };
  auto number = [&](auto scalar) { return c(scalar.getNumber().convertToDouble()); };
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](AddOp) { return b.fadd(x, y); })
      .Case([&](SubOp) { return b.fsub(x, y); })
      .Case([&](MulOp) { return b.fmul(x, y); })
      .Case([&](DivOp) { return b.ratio(x, y); })
      .Case([&](ScaleOp scale) { return b.fmul(x, number(scale)); })
      .Case([&](ShiftOp shift) { return b.fadd(x, number(shift)); })
      .Case([&](ExpOp) { return b.wholeExp(x); })
      .Case([&](TanhOp) { return b.keepNan(x, makeTanh(b, x)); })
      .Case([&](SigmoidOp) { return b.keepNan(x, makeLogistic(b, c(1.0), x)); })
      .Case([&](ReluOp) -> Value { // what is not a number stays so
        Value low = b.template create<arith::CmpFOp>(arith::CmpFPredicate::OLT, x, c(0.0));
        return b.template create<arith::SelectOp>(low, c(0.0), x);
      })
      .Case([&](SiluOp) { return b.silu(x); })
      .Case([&](GeluOp) {
        Value erf = makeErf(b, b.fmul(x, c(0.70710678118654752)));
        Value half = b.fmul(x, c(0.5));
        return b.fma(half, erf, half);
      })
      .Case([&](GeluTanhOp) { // (1 + tanh(u)) / 2 = 1 / (1 + e^-2u)
        Value square = b.fmul(x, x);
        Value cubic =
            b.fma(square, c(2 * 0.79788456080286536 * 0.044715), c(2 * 0.79788456080286536));
        return makeLogistic(b, x, b.fmul(x, cubic));
      })
      .Case([&](GluOp) { return b.fmul(b.silu(x), y); });
}

} // namespace mlir::mk

#endif // MK_PASSES_CPU_ELEMENTWISE_H
