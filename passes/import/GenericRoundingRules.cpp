// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// torch.mk.rounded(x, dtype): each number to the nearest that a narrower type has, of two the even
// one. The importer asks for it where a module of 16 bits decides by its numbers.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;
using arith::CmpFPredicate;

static Value bitsOf(Scalars &s, Value x) {
  return s.b.create<arith::BitcastOp>(s.loc, s.b.getI32Type(), x);
}
static Value numberOf(Scalars &s, Value bits) {
  return s.b.create<arith::BitcastOp>(s.loc, s.b.getF32Type(), bits);
}

/// The upper half of the bits, one more if the lower half is above a half, or is one and that is
/// odd; a carry goes into the exponent, up to infinity.
static Value toBfloat16(Scalars &s, Value x) {
  auto plus = [&](Value a, Value b) -> Value { return s.b.create<arith::AddIOp>(s.loc, a, b); };
  Value bits = bitsOf(s, x);
  Value odd = s.both(s.b.create<arith::ShRUIOp>(s.loc, bits, s.i(16)), s.i(1));
  Value upper = s.both(plus(bits, plus(odd, s.i(0x7fff))), s.i(-0x10000));
  return s.select(s.isNan(x), x, numberOf(s, upper));
}

/// A multiple of 2^-10 of the power of two below the number, and of 2^-24. From the middle between
/// 65504 and 65536 on there is only infinity.
static Value toFloat16(Scalars &s, Value x) {
  Value power = numberOf(s, s.both(bitsOf(s, x), s.i(0x7f800000)));
  Value unit = s.max(s.mul(power, s.c(0x1p-10)), s.c(0x1p-24));
  Value near = s.mul(s.make<math::RoundEvenOp>(s.div(x, unit)), unit);
  Value infinity = s.c(std::numeric_limits<double>::infinity());
  near = s.select(s.compare(CmpFPredicate::OGE, x, s.c(65520)), infinity, near);
  Value minus = s.make<arith::NegFOp>(infinity);
  return s.select(s.compare(CmpFPredicate::OLE, x, s.c(-65520)), minus, near);
}

static std::optional<Meaning> rounded(Conversion &conversion, Operation *op) {
  std::optional<StringRef> dtype = readString(op->getOperand(1));
  bool isShort = dtype == "bfloat16";
  if (!isShort && dtype != "float16")
    return std::nullopt;
  return mapPoints(conversion, op->getLoc(), conversion.get(op->getOperand(0)),
                   [&](Scalars &s, ArrayRef<Value> v) {
                     return isShort ? toBfloat16(s, v[0]) : toFloat16(s, v[0]);
                   });
}

void mk::addGenericRoundingRules(Rules &rules) { rules.add("torch.mk.rounded", 2, rounded); }
