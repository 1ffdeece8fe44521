// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/cpu/ScalarMath.h"
#include "passes/cpu/Elementwise.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk;
using arith::CmpFPredicate;
using arith::CmpIPredicate;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

Type mk::withElementType(Type like, Type element) {
  if (auto vector = dyn_cast<VectorType>(like))
    return vector.clone(element);
  return element;
}

namespace {
/// The arithmetic that the functions below are written in.
struct Math {
  CodeBuilder &b;
  Type type; // of the numbers: f32, or a vector of it

  Type integers(unsigned bits = 32) const { return withElementType(type, b.getIntegerType(bits)); }
  Value c(double value) const { return b.constant(type, value); }
  Value i(int64_t value) const { return b.constant(integers(), double(value)); }
  Value compare(CmpFPredicate predicate, Value x, Value y) const {
    return b.create<arith::CmpFOp>(predicate, x, y);
  }
  Value select(Value condition, Value x, Value y) const {
    return b.create<arith::SelectOp>(condition, x, y);
  }
  Value bits(Value x) const { return b.create<arith::BitcastOp>(integers(), x); }
  Value fromBits(Value x) const { return b.create<arith::BitcastOp>(type, x); }
  /// The result for numbers, and what is none as it is.
  Value keepNan(Value x, Value result) const {
    return select(compare(CmpFPredicate::UNO, x, x), x, result);
  }
  Value polynomial(Value x, ArrayRef<double> coefficients) const {
    Value sum = c(coefficients.front());
    for (double coefficient : coefficients.drop_front())
      sum = b.fma(sum, x, c(coefficient));
    return sum;
  }

  Value exp(Value x) const { return b.wholeExp(x); }
  Value log(Value x) const;
  Value log1p(Value x) const;
  Value expm1(Value x) const;
  Value power(Value x, Value y) const;
  Value sineOrCosine(Value x, bool cosine) const;
};
} // namespace

/// x = 2^e m, m in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes for log(m): within 2 ulp.
Value Math::log(Value x) const {
  Value isSmall = compare(CmpFPredicate::OLT, x, c(1.17549435e-38)); // denormal
  Value scaled = select(isSmall, b.fmul(x, c(8388608.0)), x);
  Value word = bits(scaled);
  Value exponent = b.create<arith::SubIOp>(b.create<arith::ShRUIOp>(word, i(23)), i(126));
  Value mantissa = fromBits(b.create<arith::OrIOp>(b.create<arith::AndIOp>(word, i(0x007fffff)),
                                                   i(0x3f000000))); // in [1/2, 1)
  Value e = b.create<arith::SIToFPOp>(type, exponent);
  e = b.fsub(e, select(isSmall, c(23.0), c(0.0)));
  Value isLow = compare(CmpFPredicate::OLT, mantissa, c(0.707106781186547524));
  e = select(isLow, b.fsub(e, c(1.0)), e);
  Value m = b.fsub(select(isLow, b.fadd(mantissa, mantissa), mantissa), c(1.0));
  Value square = b.fmul(m, m);
  Value y = polynomial(m, {7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1,
                           1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1,
                           3.3333331174e-1});
  y = b.fmul(b.fmul(y, m), square);
  y = b.fma(e, c(-2.12194440e-4), y);
  y = b.fma(square, c(-0.5), y);
  Value result = b.fma(e, c(0.693359375), b.fadd(m, y));
  result = select(compare(CmpFPredicate::OEQ, x, c(kInfinity)), x, result);
  result = select(compare(CmpFPredicate::OEQ, x, c(0.0)), c(-kInfinity), result);
  result = select(compare(CmpFPredicate::OLT, x, c(0.0)), c(std::nan("")), result);
  return keepNan(x, result);
}

/// The rounding error of 1 + x divided out again (Kahan).
Value Math::log1p(Value x) const {
  Value u = b.fadd(x, c(1.0)), lost = b.fsub(u, c(1.0));
  Value isExact = compare(CmpFPredicate::OEQ, lost, c(0.0));
  Value result = b.fmul(log(u), b.fdiv(x, select(isExact, c(1.0), lost)));
  result = select(compare(CmpFPredicate::OEQ, u, c(kInfinity)), u, result);
  return select(isExact, x, result);
}

/// The same for e^x - 1.
Value Math::expm1(Value x) const {
  Value u = exp(x), less = b.fsub(u, c(1.0));
  Value isExact = compare(CmpFPredicate::OEQ, u, c(1.0));
  Value isLowest = compare(CmpFPredicate::OEQ, less, c(-1.0));
  Value isLarge = compare(CmpFPredicate::OGT, x, c(20.0));
  Value divisor = log(select(b.create<arith::OrIOp>(isExact, isLowest), c(2.0), u));
  Value result = b.fmul(less, b.fdiv(x, divisor));
  result = select(isLarge, less, result);
  result = select(isLowest, c(-1.0), result);
  return keepNan(x, select(isExact, x, result));
}

/// e^(y log |x|), whose relative error is that of the exponent, |y log x| 2^-24; signs and limits
/// as C has them.
Value Math::power(Value x, Value y) const {
  auto truncate = [&](Value v) -> Value { return b.create<math::TruncOp>(v); };
  Value size = b.create<math::AbsFOp>(x), one = c(1.0);
  Value result = exp(b.fmul(y, log(size)));
  result = select(compare(CmpFPredicate::OEQ, size, one), one, result);
  Value isInteger = compare(CmpFPredicate::OEQ, truncate(y), y);
  Value half = b.fmul(y, c(0.5));
  Value isOdd =
      b.create<arith::AndIOp>(isInteger, compare(CmpFPredicate::UNE, truncate(half), half));
  Value isMinus = b.create<arith::CmpIOp>(CmpIPredicate::slt, bits(x), i(0));
  result = select(b.create<arith::AndIOp>(isOdd, isMinus), b.create<arith::NegFOp>(result), result);
  Value isNegative = b.create<arith::AndIOp>(compare(CmpFPredicate::OLT, x, c(0.0)),
                                             compare(CmpFPredicate::OGT, x, c(-kInfinity)));
  Value isFraction = compare(CmpFPredicate::UNE, truncate(y), y);
  result = select(b.create<arith::AndIOp>(isNegative, isFraction), c(std::nan("")), result);
  Value isOne = b.create<arith::OrIOp>(compare(CmpFPredicate::OEQ, y, c(0.0)),
                                       compare(CmpFPredicate::OEQ, x, one));
  return select(isOne, one, result);
}

/// Reduced modulo pi/2 in double precision, exactly enough up to 1e15, beyond which there is no
/// number; then Cephes' polynomials.
Value Math::sineOrCosine(Value x, bool cosine) const {
  Type doubles = withElementType(type, b.getF64Type());
  auto d = [&](double value) { return b.constant(doubles, value); };
  Value wide = b.create<arith::ExtFOp>(doubles, x);
  Value turns = b.create<math::RoundEvenOp>(b.fmul(wide, d(0.63661977236758134308)));
  Value rest = b.fma(turns, d(-1.57079632679489655800), wide);
  rest = b.fma(turns, d(-6.12323399573676603587e-17), rest);
  Value quarter =
      b.fma(b.create<math::FloorOp>(b.fmul(turns, d(0.25))), d(-4.0), turns); // of 0 .. 3
  Value isFinite = b.create<arith::CmpFOp>(CmpFPredicate::ORD, quarter, quarter);
  Value q = b.create<arith::FPToSIOp>(integers(), select(isFinite, quarter, d(0.0)));
  Value r = b.create<arith::TruncFOp>(type, rest), square = b.fmul(r, r);
  Value sine = polynomial(square, {-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1});
  sine = b.fma(b.fmul(sine, square), r, r);
  Value cos =
      polynomial(square, {2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2});
  cos = b.fma(b.fmul(cos, square), square, b.fma(square, c(-0.5), c(1.0)));
  if (cosine)
    q = b.create<arith::AddIOp>(q, i(1));
  auto has = [&](int64_t bit) -> Value {
    Value masked = b.create<arith::AndIOp>(q, i(bit));
    return b.create<arith::CmpIOp>(CmpIPredicate::ne, masked, i(0));
  };
  Value result = select(has(1), cos, sine);
  result = select(has(2), b.create<arith::NegFOp>(result), result);
  Value isKnown = compare(CmpFPredicate::OLT, b.create<math::AbsFOp>(x), c(1e15));
  return select(isKnown, result, c(std::nan("")));
}

Value mk::makeScalarOp(CodeBuilder &b, Operation *op, ArrayRef<Value> operands) {
  Type like = operands.front().getType();
  Math m{b, withElementType(like, b.getF32Type())};
  Value x = operands.front();
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](math::ExpOp) { return m.exp(x); })
      .Case([&](math::ExpM1Op) { return m.expm1(x); })
      .Case([&](math::LogOp) { return m.log(x); })
      .Case([&](math::Log1pOp) { return m.log1p(x); })
      .Case([&](math::PowFOp) { return m.power(x, operands[1]); })
      .Case([&](math::SinOp) { return m.sineOrCosine(x, false); })
      .Case([&](math::CosOp) { return m.sineOrCosine(x, true); })
      .Case([&](math::TanhOp) { return m.keepNan(x, makeTanh(b, x)); })
      .Case([&](math::ErfOp) { return m.keepNan(x, makeErf(b, x)); })
      .Case([&](math::RsqrtOp) { return b.fdiv(m.c(1.0), b.create<math::SqrtOp>(x)); })
      .Case([&](arith::FPToSIOp) -> Value {
        // Beyond 2^30 an integer means nothing here, but the instruction must be defined.
        Value low = m.select(m.compare(CmpFPredicate::OGT, x, m.c(-1073741824.0)), x,
                             m.c(-1073741824.0)); // also what is not a number
        Value clamped =
            m.select(m.compare(CmpFPredicate::OLT, low, m.c(1073741824.0)), low, m.c(1073741824.0));
        return b.create<arith::FPToSIOp>(m.integers(), clamped);
      })
      .Default([&](Operation *) { // as it is, lane by lane
        OperationState state(b.getLoc(), op->getName());
        state.addOperands(operands);
        state.addAttributes(op->getAttrs());
        state.propertiesAttr = op->getPropertiesAsAttribute();
        state.addTypes(withElementType(like, op->getResult(0).getType()));
        return b.create(state)->getResult(0);
      });
}
