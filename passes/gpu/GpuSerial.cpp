// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The bodies that end a step, run by one CTA: the token with the largest logit, or one drawn from
// them, and the set-up of the next step. See mk.argmax_reduce, mk.sample and mk.advance.
#include "passes/gpu/GpuEmitter.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk;

static Value larger(GpuBuilder &b, Value x, Value y) {
  return b.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, x, y);
}

std::pair<Value, Value> GpuEmitter::reduceBest(Value value, Value column) {
  Value memory = shared(layout.scratch, {kConsumerWarps, 2}, f32());
  auto join = [&](std::pair<Value, Value> x, std::pair<Value, Value> y) {
    Value same = b.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, y.first, x.first);
    Value lower = b.create<arith::CmpIOp>(arith::CmpIPredicate::slt, y.second, x.second);
    Value take = b.create<arith::OrIOp>(larger(b, y.first, x.first), b.both(same, lower));
    return std::pair(b.select(take, y.first, x.first), b.select(take, y.second, x.second));
  };
  std::pair<Value, Value> best = {value, column};
  for (int64_t mask = 1; mask < 32; mask *= 2)
    best = join(best, {b.shuffleXor(best.first, mask), b.shuffleXor(best.second, mask)});
  b.barrier(); // nobody reads what an earlier reduction left
  b.when(b.equal(b.rem(thread, 32), b.index(0)), [&] {
    Value warp = b.div(thread, 32);
    b.write(best.first, memory, {warp, b.index(0)});
    b.write(b.create<arith::BitcastOp>(f32(), best.second), memory, {warp, b.index(1)});
  });
  b.barrier();
  auto of = [&](int64_t w) {
    Value number = b.read(memory, {b.index(w), b.index(1)});
    return std::pair<Value, Value>(b.read(memory, {b.index(w), b.index(0)}),
                                   b.create<arith::BitcastOp>(b.getI32Type(), number));
  };
  best = of(0);
  for (int64_t w = 1; w < kConsumerWarps; ++w)
    best = join(best, of(w));
  return best;
}

Value GpuEmitter::reduceSum(Value value) {
  Value memory = shared(layout.scratch, {kConsumerWarps}, f32());
  value = b.reduceLanes(value, 32, [&](Value x, Value y) { return b.fadd(x, y); });
  b.barrier();
  b.when(b.equal(b.rem(thread, 32), b.index(0)),
         [&] { b.write(value, memory, b.div(thread, 32)); });
  b.barrier();
  Value total = b.read(memory, b.index(0));
  for (int64_t w = 1; w < kConsumerWarps; ++w)
    total = b.fadd(total, b.read(memory, b.index(w)));
  return total;
}

/// A few rows together, so that their loads are under way together: one alone, or four.
void GpuEmitter::emitArgmaxReduce(ArgmaxReduceOp op) {
  const Memory &partials = memoryOf(op.getPartials());
  Value pairs = rowsAs(partials, vectorOf(4, f32())); // of two blocks
  Value lowest = b.constant(f32(), -std::numeric_limits<float>::infinity());
  int64_t blocks = partials.columns() / 2;
  auto reduceRows = [&](Value first, int64_t rows) {
    int64_t together = 8 / std::min<int64_t>(rows, 2);
    Value last = b.sub(frame.rows, b.index(1)); // stands for rows that do not exist
    auto rowOf = [&](int64_t r) { return b.min(b.add(first, r), last); };
    SmallVector<Value> init;
    for (int64_t r = 0; r < rows; ++r)
      init.append({lowest, b.integer(INT32_MAX)});
    // A block that does not exist is the last one again.
    SmallVector<Value> best =
        b.loop(thread, b.index(llvm::divideCeil(blocks, 2)), b.index(together * kConsumers), init,
               [&](Value begin, ValueRange carried) {
                 SmallVector<Value> loaded, best(carried);
                 for (int64_t i = 0; i < together; ++i) {
                   Value two = b.min(b.add(begin, i * kConsumers), b.index((blocks - 1) / 2));
                   for (int64_t r = 0; r < rows; ++r)
                     loaded.push_back(b.read(pairs, {rowOf(r), two}));
                 }
                 for (int64_t i = 0; i < together; ++i)
                   for (int64_t r = 0; r < rows; ++r)
                     for (int64_t e = 0; e < 2; ++e) {
                       Value two = loaded[i * rows + r], value = b.element(two, 2 * e);
                       if (e && blocks % 2) { // the last pair may have no second block
                         Value block = b.add(b.mul(b.add(begin, i * kConsumers), 2), 1);
                         value = b.select(b.less(block, b.index(blocks)), value, lowest);
                       }
                       Value number =
                           b.create<arith::BitcastOp>(b.getI32Type(), b.element(two, 2 * e + 1));
                       // Columns ascend: the lowest wins a tie.
                       Value take = larger(b, value, best[2 * r]);
                       best[2 * r] = b.select(take, value, best[2 * r]);
                       best[2 * r + 1] = b.select(take, number, best[2 * r + 1]);
                     }
                 return best;
               });
    for (int64_t r = 0; r < rows; ++r) {
      Value token = reduceBest(best[2 * r], best[2 * r + 1]).second;
      b.when(b.equal(thread, b.index(0)),
             [&] { store(token, *outputs[0].memory, rowOf(r), rowOf(r)); });
    }
  };
  Value one = b.index(1), some = b.less(one, frame.rows);
  b.when(
      some,
      [&] {
        b.loop(b.index(0), frame.rows, b.index(4), [&](Value first) { reduceRows(first, 4); });
      },
      [&] { b.loop(b.index(0), frame.rows, one, [&](Value first) { reduceRows(first, 1); }); });
}

/// One 32-bit mixing step (Wellons' lowbias32).
static Value mix(GpuBuilder &b, Value x) {
  auto shift = [&](int64_t bits) {
    x = b.create<arith::XOrIOp>(x, b.create<arith::ShRUIOp>(x, b.integer(bits)));
  };
  shift(16);
  x = b.create<arith::MulIOp>(x, b.integer(int32_t(0x7feb352d)));
  shift(15);
  x = b.create<arith::MulIOp>(x, b.integer(int32_t(0x846ca68b)));
  shift(16);
  return x;
}

/// As on the CPU: thresholds by halving, then the Gumbel-max draw, all threads over the vocabulary.
void GpuEmitter::emitSample(SampleOp op) {
  const Memory &logits = memoryOf(op.getLogits());
  int64_t vocabulary = logits.columns();
  Type i32 = b.getI32Type();
  Value lowest = b.constant(f32(), -std::numeric_limits<float>::infinity()),
        zero = b.constant(f32(), 0.0);
  auto sweep = [&](ValueRange init, function_ref<SmallVector<Value>(Value, ValueRange)> body) {
    return b.loop(thread, b.index(vocabulary), b.index(kConsumers), init, body);
  };
  // Floats as signed integers of the same order.
  auto key = [&](Value x) -> Value {
    Value raw = b.create<arith::BitcastOp>(i32, x);
    Value sign = b.create<arith::ShRSIOp>(raw, b.integer(31));
    return b.create<arith::XOrIOp>(raw, b.create<arith::AndIOp>(sign, b.integer(INT32_MAX)));
  };
  auto atLeast = [&](Value x, Value threshold) -> Value {
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, key(x), threshold);
  };
  b.loop(b.index(0), frame.rows, b.index(1), [&](Value row) {
    Value temperature = readRequest("temperature", row);
    b.when(b.equal(thread, b.index(0)),
           [&] { store(load(memoryOf(op.getGreedy()), row, row), *outputs[0].memory, row, row); });
    b.when(larger(b, temperature, zero), [&] {
      Value inverse = b.fdiv(b.constant(f32(), 1.0), temperature);
      auto scaled = [&](Value column) { return b.fmul(load(logits, row, column), inverse); };
      Value top = sweep(lowest, [&](Value column, ValueRange carried) {
        return SmallVector<Value>{b.fmax(carried[0], scaled(column))};
      })[0];
      top = reduceBest(top, b.integer(0)).first;
      auto weightOf = [&](Value x) { return b.exp(b.fsub(x, top)); };
      auto threshold = [&](Value wanted, function_ref<Value(Value x)> measure) -> Value {
        return b.loop(b.index(0), b.index(32), b.index(1), b.integer(INT32_MIN),
                      [&](Value i, ValueRange carried) {
                        Value shift = b.create<arith::SubIOp>(b.integer(31), b.toI32(i));
                        Value bit = b.create<arith::ShLIOp>(b.integer(1), shift);
                        Value candidate = b.create<arith::AddIOp>(carried[0], bit);
                        Value sum = sweep(zero, [&](Value column, ValueRange sums) {
                          Value x = scaled(column);
                          Value kept = b.select(atLeast(x, candidate), measure(x), zero);
                          return SmallVector<Value>{b.fadd(sums[0], kept)};
                        })[0];
                        Value enough = b.create<arith::CmpFOp>(arith::CmpFPredicate::OGE,
                                                               reduceSum(sum), wanted);
                        return SmallVector<Value>{b.select(enough, candidate, carried[0])};
                      })[0];
      };
      Value k = readRequest("top_k", row);
      Value limited = b.create<arith::CmpIOp>(arith::CmpIPredicate::sgt, k, b.integer(0));
      Value byCount = b.choose(
          i32, limited,
          [&] {
            Value most = b.create<arith::MinSIOp>(k, b.integer(vocabulary));
            return threshold(b.create<arith::SIToFPOp>(f32(), most),
                             [&](Value) { return b.constant(f32(), 1.0); });
          },
          [&] { return b.integer(INT32_MIN); });
      Value topP = readRequest("top_p", row);
      Value some = b.create<arith::CmpFOp>(arith::CmpFPredicate::OLT, topP, b.constant(f32(), 1.0));
      Value border = b.choose(
          i32, some,
          [&]() -> Value {
            Value mass = sweep(zero, [&](Value column, ValueRange sums) {
              Value x = scaled(column);
              return SmallVector<Value>{
                  b.fadd(sums[0], b.select(atLeast(x, byCount), weightOf(x), zero))};
            })[0];
            Value byMass =
                threshold(b.fmul(reduceSum(mass), topP), [&](Value x) { return weightOf(x); });
            return b.create<arith::MaxSIOp>(byCount, byMass);
          },
          [&] { return byCount; });
      Value minP = readRequest("min_p", row); // the largest weight is 1
      Value token = b.toIndex(readRequest("rows", row));
      Value seed = mix(b, readRequest("seed", row));
      seed = mix(b, b.create<arith::XOrIOp>(seed, readRequest("positions", token)));
      auto best = sweep({lowest, b.integer(INT32_MAX)}, [&](Value column, ValueRange carried) {
        Value x = scaled(column), number = b.toI32(column);
        Value hash = mix(b, b.create<arith::XOrIOp>(number, seed));
        Value draw = b.create<arith::UIToFPOp>(f32(), b.create<arith::ShRUIOp>(hash, b.integer(9)));
        Value u = b.fmul(b.fadd(draw, b.constant(f32(), 0.5)), b.constant(f32(), 0x1p-23));
        auto negativeLog = [&](Value y) -> Value {
          return b.create<arith::NegFOp>(b.create<math::LogOp>(y));
        };
        Value score = b.fadd(x, negativeLog(negativeLog(u)));
        Value kept = b.both(atLeast(x, border),
                            b.create<arith::CmpFOp>(arith::CmpFPredicate::OGE, weightOf(x), minP));
        score = b.select(kept, score, lowest);
        Value take = larger(b, score, carried[0]);
        return SmallVector<Value>{b.select(take, score, carried[0]),
                                  b.select(take, number, carried[1])};
      });
      Value drawn = reduceBest(best[0], best[1]).second;
      b.when(b.equal(thread, b.index(0)), [&] { store(drawn, *outputs[0].memory, row, row); });
    });
  });
}

/// One lane for each row; rows that go on move to the front, in order.
void GpuEmitter::emitAdvance(AdvanceOp op) {
  Type i32 = b.getI32Type();
  Value one = b.integer(1), zero = b.index(0), rows = frame.rows;
  auto compare = [&](arith::CmpIPredicate predicate, Value x, Value y) -> Value {
    return b.create<arith::CmpIOp>(predicate, x, y);
  };
  auto either = [&](Value x, Value y) -> Value { return b.create<arith::OrIOp>(x, y); };
  b.barrier(); // what this CTA's other threads wrote of the tokens
  b.when(b.less(thread, b.index(32)), [&] {
    Value active = b.less(thread, rows);
    Value row = b.max(zero, b.min(thread, b.sub(rows, b.index(1))));
    Value posted = b.read(request("mailbox_count"), zero);
    Value steps = readRequest("steps", zero), cancel = readRequest("cancel", zero);
    Value stops = b.toIndex(readRequest("n_stops", zero));
    Value from = b.toIndex(readRequest("rows", row)), remaining = readRequest("remaining", row);
    Value token = load(memoryOf(op.getNext()), row, row);
    Value slot = readRequest("slots", from), position = readRequest("positions", from);
    SmallVector<StringRef> names = {"temperature", "top_k", "top_p", "min_p", "seed"};
    SmallVector<Value> rules =
        llvm::map_to_vector(names, [&](StringRef name) { return readRequest(name, row); });
    Value stopped =
        b.loop(zero, stops, b.index(1), b.integer(0, 1), [&](Value i, ValueRange found) {
          return SmallVector<Value>{either(found[0], b.equal(readRequest("stops", i), token))};
        })[0];
    Value next = b.addI32(position, one);
    Value full = compare(arith::CmpIPredicate::sge, next, b.integer(options.getMaxLength()));
    Value last = compare(arith::CmpIPredicate::sle, remaining, one);
    Value done = either(either(stopped, full), last);
    Value goesOn = b.both(active, b.equal(done, b.integer(0, 1)));
    Value mask = b.create<NVVM::VoteBallotOp>(i32, b.integer(-1), goesOn);
    Value below = b.create<arith::SubIOp>(b.create<arith::ShLIOp>(one, b.toI32(thread)), one);
    Value place = b.toIndex(b.create<math::CtPopOp>(b.create<arith::AndIOp>(mask, below)));
    Value kept = b.create<math::CtPopOp>(mask);
    b.syncWarp(); // every lane has read before one writes
    b.when(goesOn, [&] {
      b.write(token, request("tokens"), place);
      b.write(next, request("positions"), place);
      b.write(slot, request("slots"), place);
      b.write(b.toI32(place), request("rows"), place);
      b.write(b.create<arith::SubIOp>(remaining, one), request("remaining"), place);
      for (auto [name, rule] : llvm::zip_equal(names, rules))
        b.write(rule, request(name), place);
    });
    Value total =
        b.create<arith::AddIOp>(posted, b.create<arith::IndexCastOp>(b.getI64Type(), rows));
    b.when(b.equal(thread, zero), [&] {
      b.write(kept, request("n_tokens"), zero);
      b.write(kept, request("n_rows"), zero);
      b.write(total, request("mailbox_count"), zero);
      Value left = b.create<arith::SubIOp>(steps, one);
      b.write(left, request("steps"), zero);
      Value finished = either(either(compare(arith::CmpIPredicate::sle, kept, b.integer(0)),
                                     compare(arith::CmpIPredicate::sle, left, b.integer(0))),
                              compare(arith::CmpIPredicate::ne, cancel, b.integer(0)));
      b.write(b.select(finished, b.integer(0), one), request("running"), zero);
    });
    b.syncWarp();
    b.when(b.equal(thread, zero), [&] { b.create<mk_cta::PublishStepOp>(frame.context); });
    // The host hears of the tokens while the next step runs.
    int64_t mailbox = mk_task::findRequestArray(options, "mailbox").offset,
            counter = mk_task::findRequestArray(options, "mailbox_count").offset;
    Value entries = view("host", b.index(mailbox), {ShapedType::kDynamic}, {1}, i32);
    Value entry = b.mul(b.add(b.toIndex(posted), thread), 2);
    b.when(active, [&] {
      b.write(slot, entries, entry);
      b.write(token, entries, b.add(entry, 1));
    });
    b.syncWarp();
    b.when(b.equal(thread, zero), [&] {
      Value count = view("host", b.index(counter), {1}, {1}, b.getI64Type());
      b.create<mk_cta::PostOp>(count, zero, total);
    });
  });
}

FailureOr<RingPlace> GpuEmitter::emitSerial() {
  return llvm::TypeSwitch<Operation *, FailureOr<RingPlace>>(kind.getAnchor())
      .Case([&](ArgmaxReduceOp op) { return emitArgmaxReduce(op), frame.ring; })
      .Case([&](SampleOp op) { return emitSample(op), frame.ring; })
      .Case([&](AdvanceOp op) { return emitAdvance(op), frame.ring; })
      .Case([&](TopkRouteOp op) { return emitTopkRoute(op), frame.ring; })
      .Case([&](AcrossRowsOp op) { return emitAcrossRows(op), frame.ring; })
      .Case([&](FinishOp) { return emitFinish(), frame.ring; })
      .Default([&](Operation *op) { return refuse(op, "has no serial body"); });
}
