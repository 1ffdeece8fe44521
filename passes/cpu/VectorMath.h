// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Arithmetic that bodies share, on scalars and vectors alike. No operation allows reassociation and
// every reduction is a tree of fixed shape: the same inputs give the same bits wherever the code is
// inlined.
#ifndef MK_PASSES_CPU_VECTORMATH_H
#define MK_PASSES_CPU_VECTORMATH_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::mk {

/// A builder with the few things that every body writes.
struct CodeBuilder : ImplicitLocOpBuilder {
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;

  // Constants and index arithmetic, folded while building.
  Value index(int64_t value) { return create<arith::ConstantIndexOp>(value); }
  Value integer(int64_t value, unsigned bits = 32) {
    return create<arith::ConstantIntOp>(value, bits);
  }
  /// A constant of a float32 scalar or vector type (or of int32, given its bits).
  Value constant(Type type, double value);
  Value add(Value a, Value b) { return createOrFold<arith::AddIOp>(a, b); }
  Value add(Value a, int64_t b) { return b ? add(a, index(b)) : a; }
  Value sub(Value a, Value b) { return createOrFold<arith::SubIOp>(a, b); }
  Value mul(Value a, int64_t b) { return b == 1 ? a : createOrFold<arith::MulIOp>(a, index(b)); }
  Value mul(Value a, Value b) { return createOrFold<arith::MulIOp>(a, b); }
  Value div(Value a, int64_t b) { return b == 1 ? a : createOrFold<arith::DivUIOp>(a, index(b)); }
  Value rem(Value a, int64_t b) {
    return b == 1 ? index(0) : createOrFold<arith::RemUIOp>(a, index(b));
  }
  Value min(Value a, Value b) { return createOrFold<arith::MinSIOp>(a, b); }
  Value max(Value a, Value b) { return createOrFold<arith::MaxSIOp>(a, b); }
  Value less(Value a, Value b) { return create<arith::CmpIOp>(arith::CmpIPredicate::slt, a, b); }
  Value toIndex(Value integer) { return create<arith::IndexCastOp>(getIndexType(), integer); }
  Value toI32(Value index) { return create<arith::IndexCastOp>(getI32Type(), index); }

  // Float arithmetic.
  Value fadd(Value a, Value b) { return create<arith::AddFOp>(a, b); }
  Value fsub(Value a, Value b) { return create<arith::SubFOp>(a, b); }
  Value fmul(Value a, Value b) { return create<arith::MulFOp>(a, b); }
  Value fdiv(Value a, Value b) { return create<arith::DivFOp>(a, b); }
  Value fmax(Value a, Value b) { return create<arith::MaxNumFOp>(a, b); }
  Value fma(Value a, Value b, Value c) { return create<math::FmaOp>(a, b, c); }
  Value splat(Value scalar, int64_t lanes) {
    return create<vector::SplatOp>(VectorType::get({lanes}, scalar.getType()), scalar);
  }
  /// Sum or maximum of the lanes by halving: lane i with lane i + n/2, and so on.
  Value sumLanes(Value vector);
  Value maxLanes(Value vector);

  /// e^x to about 1 ulp; exactly 0 below -87.3 (so a masked score of -1e30 weighs nothing),
  /// infinite where float32 ends. What is no number gives some number: see keepNan.
  Value exp(Value x);
  /// Sine and cosine to about 1e-7 for |x| up to 1e5: three-part reduction modulo pi/2 (Cody and
  /// Waite).
  std::pair<Value, Value> sincos(Value x);
  /// x / (1 + e^-x).
  Value silu(Value x);
  /// The names under which code for both machines asks for what a GPU has its own ways for.
  Value fastExp(Value x) { return exp(x); }
  /// Infinity where it is, and what is no number stays so.
  Value wholeExp(Value x);
  Value ratio(Value a, Value b) { return fdiv(a, b); }
  /// `result`, which is made of `exp` of x, where x is a number, and x where it is none.
  Value keepNan(Value x, Value result);
  /// Float32 to bfloat16, nearest even, by integer arithmetic unless `native`; and back, exactly.
  Value toBf16(Value x, bool native);
  Value widen(Value x);

  // Control flow; the body returns what the loop carries.
  using LoopBody = function_ref<SmallVector<Value>(Value iv, ValueRange carried)>;
  SmallVector<Value> loop(Value from, Value to, Value step, ValueRange init, LoopBody body);
  void loop(Value from, Value to, Value step, function_ref<void(Value iv)> body);
  void loop(int64_t from, int64_t to, int64_t step, function_ref<void(Value iv)> body) {
    loop(index(from), index(to), index(step), body);
  }
  /// while (condition(carried)) carried = body(carried)
  SmallVector<Value> loopWhile(ValueRange init, function_ref<Value(ValueRange)> condition,
                               function_ref<SmallVector<Value>(ValueRange)> body);
  void when(Value condition, function_ref<void()> then, function_ref<void()> otherwise = nullptr);
  /// Only the chosen one of the two is computed.
  Value choose(Value condition, function_ref<Value()> then, function_ref<Value()> otherwise);
};

} // namespace mlir::mk

#endif // MK_PASSES_CPU_VECTORMATH_H
