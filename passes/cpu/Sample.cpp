// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of the `serial` kind that draws a token from each row of logits; see mk.sample for what
// it means.
#include "passes/cpu/KindEmitter.h"

#include <numeric>

using namespace mlir;
using namespace mlir::mk;

/// One 32-bit mixing step (Wellons' lowbias32): every input bit changes about half of the output
/// bits.
static Value mix(CodeBuilder &b, Value x) {
  auto c = [&](int64_t value) {
    Type type = x.getType();
    IntegerAttr attr = b.getI32IntegerAttr(int32_t(uint32_t(value)));
    if (auto vector = dyn_cast<VectorType>(type))
      return b.create<arith::ConstantOp>(DenseElementsAttr::get(vector, Attribute(attr)))
          .getResult();
    return b.create<arith::ConstantOp>(attr).getResult();
  };
  auto shift = [&](int64_t bits) {
    x = b.create<arith::XOrIOp>(x, b.create<arith::ShRUIOp>(x, c(bits)));
  };
  shift(16);
  x = b.create<arith::MulIOp>(x, c(0x7feb352d));
  shift(15);
  x = b.create<arith::MulIOp>(x, c(0x846ca68b));
  shift(16);
  return x;
}

LogicalResult KindEmitter::emitSample(SampleOp op) {
  int64_t vocabulary = getColumns(op.getLogits());
  int64_t whole = llvm::alignTo(vocabulary, lanes);
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  VectorType floats = vector(f32, lanes), integers = vector(i32, lanes),
             bits = vector(b.getI1Type(), lanes);
  Value zero = b.index(0), one = b.index(1), logits = memoryOf(op.getLogits());
  // Scaled logits (the pad holds -inf) and their weights exp(logit - largest).
  Value scaled = allocate({whole}, f32), weights = allocate({whole}, f32);
  SmallVector<int32_t> lane(lanes);
  std::iota(lane.begin(), lane.end(), 0);
  Value step =
      b.create<arith::ConstantOp>(DenseElementsAttr::get(integers, ArrayRef<int32_t>(lane)));
  Value lowest = b.constant(floats, -std::numeric_limits<float>::infinity());
  auto place = [&](Value column) { return Place{nullptr, {column, 0}, lanes, nullptr}; };
  // Over all columns, a register at a time.
  auto sweep = [&](ValueRange init, function_ref<SmallVector<Value>(Value, ValueRange)> body) {
    return b.loop(zero, b.index(whole), b.index(lanes), init, body);
  };
  // Floats as signed integers of the same order, so that a threshold can be found bit by bit.
  auto key = [&](Value x) -> Value {
    Value raw = b.create<arith::BitcastOp>(integers, x);
    Value sign = b.create<arith::ShRSIOp>(raw, b.constant(integers, 31));
    return b.create<arith::XOrIOp>(
        raw, b.create<arith::AndIOp>(sign, b.constant(integers, double(INT32_MAX))));
  };
  auto atLeast = [&](Value x, Value threshold) -> Value {
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, key(x), b.splat(threshold, lanes));
  };
  // The largest threshold whose columns at or above it still measure at least `wanted`: 32
  // halvings.
  auto largestThreshold =
      [&](Value wanted,
          function_ref<Value(Value scaledLanes, Value weightLanes)> measure) -> Value {
    return b.loop(zero, b.index(32), one, b.integer(INT32_MIN), [&](Value i, ValueRange carried) {
      Value bit =
          b.create<arith::ShLIOp>(b.integer(1), b.create<arith::SubIOp>(b.integer(31), b.toI32(i)));
      // Adding the top bit to INT32_MIN wraps to 0, the middle of the signed range: just what is
      // wanted.
      Value candidate = b.create<arith::AddIOp>(carried[0], bit);
      Value sum = sweep(b.constant(floats, 0.0), [&](Value column, ValueRange sums) {
        Value x = load(scaled, place(column)), weight = measure(x, load(weights, place(column)));
        Value kept =
            b.create<arith::SelectOp>(atLeast(x, candidate), weight, b.constant(floats, 0.0));
        return SmallVector<Value>{b.fadd(sums[0], kept)};
      })[0];
      Value enough = b.create<arith::CmpFOp>(arith::CmpFPredicate::OGE, b.sumLanes(sum), wanted);
      return SmallVector<Value>{b.create<arith::SelectOp>(enough, candidate, carried[0])};
    })[0];
  };

  b.loop(zero, rowCount(kind.getDomain()), one, [&](Value row) {
    Value temperature = readRequest("temperature", row);
    Value hot =
        b.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, temperature, b.constant(f32, 0.0));
    write(read(memoryOf(op.getGreedy()), row), outputs[0].memory, row);
    b.when(hot, [&] {
      Value inverse = b.splat(b.fdiv(b.constant(f32, 1.0), temperature), lanes);
      Value top = sweep(lowest, [&](Value column, ValueRange carried) {
        Value valid = b.min(b.sub(b.index(vocabulary), column), b.index(lanes));
        Value mask = b.create<vector::CreateMaskOp>(bits, ValueRange(valid));
        Value x = b.fmul(load(logits, {row, {column, 0}, lanes, valid}), inverse);
        x = b.create<arith::SelectOp>(mask, x, lowest);
        store(x, scaled, place(column));
        return SmallVector<Value>{b.fmax(carried[0], x)};
      })[0];
      Value largest = b.splat(b.maxLanes(top), lanes);
      sweep({}, [&](Value column, ValueRange) {
        store(b.exp(b.fsub(load(scaled, place(column)), largest)), weights, place(column));
        return SmallVector<Value>{};
      });

      // A rule that the request does not set would keep every column: its sweeps are left out.
      Value everything = b.integer(INT32_MIN);
      // top_k: counts are exact in float32 up to 2^24 columns.
      Value k = readRequest("top_k", row);
      Value limited = b.create<arith::AndIOp>(
          b.create<arith::CmpIOp>(arith::CmpIPredicate::sgt, k, b.integer(0)),
          b.create<arith::CmpIOp>(arith::CmpIPredicate::slt, k, b.integer(vocabulary)));
      Value byCount = b.choose(
          limited,
          [&] {
            return largestThreshold(b.create<arith::SIToFPOp>(f32, k),
                                    [&](Value, Value) { return b.constant(floats, 1.0); });
          },
          [&] { return everything; });
      // top_p, of what is left.
      Value topP = readRequest("top_p", row);
      Value part = b.create<arith::CmpFOp>(arith::CmpFPredicate::OLT, topP, b.constant(f32, 1.0));
      Value byMass = b.choose(
          part,
          [&] {
            Value mass = sweep(b.constant(floats, 0.0), [&](Value column, ValueRange sums) {
              Value kept =
                  b.create<arith::SelectOp>(atLeast(load(scaled, place(column)), byCount),
                                            load(weights, place(column)), b.constant(floats, 0.0));
              return SmallVector<Value>{b.fadd(sums[0], kept)};
            })[0];
            return largestThreshold(b.fmul(b.sumLanes(mass), topP),
                                    [&](Value, Value weight) { return weight; });
          },
          [&] { return everything; });
      Value threshold = b.create<arith::MaxSIOp>(byCount, byMass);
      // min_p: the largest weight is 1.
      Value minP = b.splat(readRequest("min_p", row), lanes);

      Value token = b.toIndex(read(request("rows"), row));
      Value seed = mix(b, readRequest("seed", row));
      seed = mix(b, b.create<arith::XOrIOp>(seed, readRequest("positions", token)));
      auto best = sweep({lowest, b.constant(integers, 0)}, [&](Value column, ValueRange carried) {
        Value x = load(scaled, place(column)), weight = load(weights, place(column));
        Value columns = b.create<arith::AddIOp>(b.splat(b.toI32(column), lanes), step);
        Value hash = mix(b, b.create<arith::XOrIOp>(columns, b.splat(seed, lanes)));
        // u in (0, 1): 23 bits and a half, which float32 holds exactly.
        Value draw = b.create<arith::UIToFPOp>(
            floats, b.create<arith::ShRUIOp>(hash, b.constant(integers, 9)));
        Value u = b.fmul(b.fadd(draw, b.constant(floats, 0.5)), b.constant(floats, 0x1p-23));
        auto negativeLog = [&](Value y) -> Value {
          return b.create<arith::NegFOp>(b.create<math::LogOp>(y));
        };
        Value score = b.fadd(x, negativeLog(negativeLog(u)));
        Value kept = b.create<arith::AndIOp>(
            atLeast(x, threshold),
            b.create<arith::CmpFOp>(arith::CmpFPredicate::OGE, weight, minP));
        score = b.create<arith::SelectOp>(kept, score, lowest);
        Value larger = b.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, score, carried[0]);
        return SmallVector<Value>{b.create<arith::SelectOp>(larger, score, carried[0]),
                                  b.create<arith::SelectOp>(larger, columns, carried[1])};
      });
      Value winner = b.splat(b.maxLanes(best[0]), lanes);
      Value equal = b.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, best[0], winner);
      Value columns =
          b.create<arith::SelectOp>(equal, best[1], b.constant(integers, double(vocabulary - 1)));
      write(b.create<vector::ReductionOp>(vector::CombiningKind::MINSI, columns), outputs[0].memory,
            row);
    });
  });
  return success();
}
