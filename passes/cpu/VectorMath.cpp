// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/cpu/VectorMath.h"

using namespace mlir;
using namespace mlir::mk;

/// `like` with another element type: a vector of it, or the scalar itself.
static Type withElement(Type like, Type element) {
  if (auto vector = dyn_cast<VectorType>(like))
    return vector.clone(element);
  return element;
}

Value CodeBuilder::constant(Type type, double value) {
  Type element = getElementTypeOrSelf(type);
  TypedAttr attr = isa<FloatType>(element) ? TypedAttr(getFloatAttr(element, value))
                                           : TypedAttr(getIntegerAttr(element, int64_t(value)));
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return create<arith::ConstantOp>(attr);
}

static Value halve(CodeBuilder &b, Value vector, function_ref<Value(Value, Value)> join) {
  int64_t lanes = cast<VectorType>(vector.getType()).getDimSize(0);
  for (; lanes > 1; lanes /= 2) {
    Value low = b.create<vector::ExtractStridedSliceOp>(
        vector, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{lanes / 2}, ArrayRef<int64_t>{1});
    Value high = b.create<vector::ExtractStridedSliceOp>(
        vector, ArrayRef<int64_t>{lanes / 2}, ArrayRef<int64_t>{lanes / 2}, ArrayRef<int64_t>{1});
    vector = join(low, high);
  }
  return b.create<vector::ExtractOp>(vector, ArrayRef<int64_t>{0});
}

Value CodeBuilder::sumLanes(Value vector) {
  return halve(*this, vector, [&](Value a, Value b) { return fadd(a, b); });
}
Value CodeBuilder::maxLanes(Value vector) {
  return halve(*this, vector, [&](Value a, Value b) { return fmax(a, b); });
}

Value CodeBuilder::keepNan(Value x, Value result) {
  Value isNan = create<arith::CmpFOp>(arith::CmpFPredicate::UNO, x, x);
  return create<arith::SelectOp>(isNan, x, result);
}

Value CodeBuilder::wholeExp(Value x) { return keepNan(x, exp(x)); }

Value CodeBuilder::exp(Value x) {
  Type type = x.getType(), integers = withElement(type, getI32Type());
  auto c = [&](double value) { return constant(type, value); };
  Value tooSmall = create<arith::CmpFOp>(arith::CmpFPredicate::OLT, x, c(-87.3));
  // At 89 the product below is infinite, and so is e^x.
  x = create<arith::MinNumFOp>(fmax(x, c(-87.3)), c(89.0));
  // x = k ln2 + r, |r| <= ln2 / 2; e^r by its Taylor polynomial of degree 7 (error below 2^-26).
  Value k = create<math::RoundEvenOp>(fmul(x, c(1.44269504088896341)));
  Value r = fma(k, c(-0.693359375), x);
  r = fma(k, c(2.12194440e-4), r);
  Value p = c(1.0 / 5040);
  for (double coefficient : {1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
    p = fma(p, r, c(coefficient));
  // 2^k in two factors: k can be 128, which one exponent field cannot hold.
  Value n = create<arith::FPToSIOp>(integers, k);
  Value half = create<arith::ShRSIOp>(n, constant(integers, 1));
  auto power = [&](Value exponent) -> Value {
    Value biased = create<arith::AddIOp>(exponent, constant(integers, 127));
    return create<arith::BitcastOp>(type, create<arith::ShLIOp>(biased, constant(integers, 23)));
  };
  Value result = fmul(fmul(p, power(half)), power(create<arith::SubIOp>(n, half)));
  return create<arith::SelectOp>(tooSmall, c(0.0), result);
}

std::pair<Value, Value> CodeBuilder::sincos(Value x) {
  Type type = x.getType(), integers = withElement(type, getI32Type());
  auto c = [&](double value) { return constant(type, value); };
  Value k = create<math::RoundEvenOp>(fmul(x, c(0.636619772367581343)));
  // pi/2 in three parts of few bits each, so that k times a part is exact.
  Value r = fma(k, c(-1.5703125), x);
  r = fma(k, c(-4.837512969970703125e-4), r);
  r = fma(k, c(-7.54978995489188216e-8), r);
  Value z = fmul(r, r);
  Value s = c(-1.9515295891e-4);
  for (double coefficient : {8.3321608736e-3, -1.6666654611e-1})
    s = fma(s, z, c(coefficient));
  s = fma(fmul(s, z), r, r);
  Value t = c(2.443315711809948e-5);
  for (double coefficient : {-1.388731625493765e-3, 4.166664568298827e-2})
    t = fma(t, z, c(coefficient));
  t = fma(fmul(t, z), z, fma(z, c(-0.5), c(1.0)));
  // Quadrant q: sine is s, t, -s, -t; cosine is t, -s, -t, s.
  Value q = create<arith::FPToSIOp>(integers, k);
  auto bit = [&](Value value, int64_t mask) -> Value {
    Value masked = create<arith::AndIOp>(value, constant(integers, mask));
    return create<arith::CmpIOp>(arith::CmpIPredicate::ne, masked, constant(integers, 0));
  };
  auto negateIf = [&](Value condition, Value value) -> Value {
    return create<arith::SelectOp>(condition, create<arith::NegFOp>(value), value);
  };
  Value odd = bit(q, 1);
  Value sine = create<arith::SelectOp>(odd, t, s), cosine = create<arith::SelectOp>(odd, s, t);
  Value next = create<arith::AddIOp>(q, constant(integers, 1));
  return {negateIf(bit(q, 2), sine), negateIf(bit(next, 2), cosine)};
}

Value CodeBuilder::silu(Value x) {
  Value one = constant(x.getType(), 1.0);
  return fdiv(x, fadd(one, exp(create<arith::NegFOp>(x))));
}

Value CodeBuilder::toBf16(Value x, bool native) {
  Type narrow = withElement(x.getType(), getBF16Type());
  if (native)
    return create<arith::TruncFOp>(narrow, x);
  Type integers = withElement(x.getType(), getI32Type());
  Value bits = create<arith::BitcastOp>(integers, x);
  Value odd = create<arith::AndIOp>(create<arith::ShRUIOp>(bits, constant(integers, 16)),
                                    constant(integers, 1));
  Value rounded =
      create<arith::AddIOp>(bits, create<arith::AddIOp>(odd, constant(integers, 0x7fff)));
  // Rounding must not carry a NaN into infinity or zero.
  Value isNan = create<arith::CmpFOp>(arith::CmpFPredicate::UNO, x, x);
  Value quiet = create<arith::OrIOp>(bits, constant(integers, 0x400000));
  Value chosen = create<arith::SelectOp>(isNan, quiet, rounded);
  Value high = create<arith::TruncIOp>(withElement(x.getType(), getI16Type()),
                                       create<arith::ShRUIOp>(chosen, constant(integers, 16)));
  return create<arith::BitcastOp>(narrow, high);
}

Value CodeBuilder::widen(Value x) {
  if (getElementTypeOrSelf(x.getType()).isF32())
    return x;
  return create<arith::ExtFOp>(withElement(x.getType(), getF32Type()), x);
}

SmallVector<Value> CodeBuilder::loop(Value from, Value to, Value step, ValueRange init,
                                     LoopBody body) {
  auto forOp = create<scf::ForOp>(from, to, step, init);
  InsertionGuard guard(*this);
  if (init.empty())
    forOp.getBody()->getTerminator()->erase();
  setInsertionPointToEnd(forOp.getBody());
  create<scf::YieldOp>(body(forOp.getInductionVar(), forOp.getRegionIterArgs()));
  return SmallVector<Value>(forOp.getResults());
}

void CodeBuilder::loop(Value from, Value to, Value step, function_ref<void(Value)> body) {
  loop(from, to, step, ValueRange{}, [&](Value iv, ValueRange) {
    body(iv);
    return SmallVector<Value>{};
  });
}

SmallVector<Value> CodeBuilder::loopWhile(ValueRange init,
                                          function_ref<Value(ValueRange)> condition,
                                          function_ref<SmallVector<Value>(ValueRange)> body) {
  auto whileOp = create<scf::WhileOp>(TypeRange(init), init);
  SmallVector<Location> locs(init.size(), getLoc());
  InsertionGuard guard(*this);
  Block *before = createBlock(&whileOp.getBefore(), {}, TypeRange(init), locs);
  create<scf::ConditionOp>(condition(before->getArguments()), before->getArguments());
  Block *after = createBlock(&whileOp.getAfter(), {}, TypeRange(init), locs);
  create<scf::YieldOp>(body(after->getArguments()));
  return SmallVector<Value>(whileOp.getResults());
}

void CodeBuilder::when(Value condition, function_ref<void()> then, function_ref<void()> otherwise) {
  auto ifOp = create<scf::IfOp>(condition, /*withElseRegion=*/bool(otherwise));
  InsertionGuard guard(*this);
  setInsertionPointToStart(&ifOp.getThenRegion().front());
  then();
  if (otherwise) {
    setInsertionPointToStart(&ifOp.getElseRegion().front());
    otherwise();
  }
}

Value CodeBuilder::choose(Value condition, function_ref<Value()> then,
                          function_ref<Value()> otherwise) {
  return create<scf::IfOp>(
             condition, [&](OpBuilder &, Location) { create<scf::YieldOp>(then()); },
             [&](OpBuilder &, Location) { create<scf::YieldOp>(otherwise()); })
      .getResult(0);
}
