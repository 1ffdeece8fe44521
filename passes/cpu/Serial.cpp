// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The bodies of the `serial` kinds that end a step: the token with the largest logit, and the
// set-up of the next step, or the end of the run. See mk.argmax_reduce, mk.advance and mk.finish
// for what they mean; mk.sample is in Sample.cpp.
#include "passes/cpu/KindEmitter.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk;

void KindEmitter::emitArgmaxReduce(ArgmaxReduceOp op) {
  int64_t blocks = getColumns(op.getPartials()) / 2;
  Value partials = memoryOf(op.getPartials()), zero = b.index(0), one = b.index(1);
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  b.loop(zero, rowCount(kind.getDomain()), one, [&](Value row) {
    Value lowest = b.constant(f32, -std::numeric_limits<float>::infinity());
    // Blocks are in column order, so a strictly larger value is needed to move on: the lowest
    // column wins a tie.
    auto best = b.loop(
        zero, b.index(blocks), one, ValueRange{lowest, b.integer(0)},
        [&](Value block, ValueRange carried) {
          Value column = b.mul(block, 2), value = read(partials, {row, column});
          Value number = b.create<arith::BitcastOp>(i32, read(partials, {row, b.add(column, 1)}));
          Value larger = b.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, value, carried[0]);
          return SmallVector<Value>{b.create<arith::SelectOp>(larger, value, carried[0]),
                                    b.create<arith::SelectOp>(larger, number, carried[1])};
        });
    write(best[1], outputs[0].memory, row);
  });
}

void KindEmitter::emitAdvance(AdvanceOp op) {
  Value next = memoryOf(op.getNext()), zero = b.index(0), one = b.index(1);
  Value mailbox = request("mailbox"), counter = request("mailbox_count");
  auto equal = [&](Value a, Value c) -> Value {
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::eq, a, c);
  };
  auto either = [&](Value a, Value c) -> Value { return b.create<arith::OrIOp>(a, c); };
  Value posted = b.toIndex(read(counter, zero)), stops = b.toIndex(readRequest("n_stops", zero));
  Value cancelled =
      b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, readRequest("cancel", zero), b.integer(0));
  // Requests that go on move to the front. A request never moves back (its rows ascend), so nothing
  // that is still to be read is overwritten.
  auto ended = b.loop(
      zero, rowCount(mk_task::Domain::rows), one, ValueRange{zero, posted},
      [&](Value row, ValueRange carried) {
        Value kept = carried[0], entry = b.mul(carried[1], 2);
        Value from = b.toIndex(readRequest("rows", row)), token = read(next, row);
        Value slot = readRequest("slots", from), position = readRequest("positions", from);
        Value remaining = readRequest("remaining", row);
        write(slot, mailbox, entry);
        write(token, mailbox, b.add(entry, 1));
        Value stopped = b.loop(zero, stops, one, b.integer(0, 1), [&](Value i, ValueRange found) {
          return SmallVector<Value>{either(found[0], equal(readRequest("stops", i), token))};
        })[0];
        Value position1 = b.create<arith::AddIOp>(position, b.integer(1));
        Value full = b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, position1,
                                             b.integer(options.getMaxLength()));
        Value last = b.create<arith::CmpIOp>(arith::CmpIPredicate::sle, remaining, b.integer(1));
        Value done = either(either(stopped, full), last);
        Value goesOn = equal(done, b.integer(0, 1));
        b.when(goesOn, [&] {
          write(token, request("tokens"), kept);
          write(position1, request("positions"), kept);
          write(slot, request("slots"), kept);
          write(b.toI32(kept), request("rows"), kept);
          write(b.create<arith::SubIOp>(remaining, b.integer(1)), request("remaining"), kept);
          for (StringRef name : {"temperature", "top_k", "top_p", "min_p", "seed"})
            write(readRequest(name, row), request(name), kept);
        });
        Value more = b.create<arith::ExtUIOp>(b.getI64Type(), goesOn);
        return SmallVector<Value>{b.add(kept, b.toIndex(more)), b.add(carried[1], 1)};
      });
  Value kept = b.toI32(ended[0]);
  write(kept, request("n_tokens"), zero);
  write(kept, request("n_rows"), zero);
  Value steps = b.create<arith::SubIOp>(readRequest("steps", zero), b.integer(1));
  write(steps, request("steps"), zero);
  Value finished =
      either(either(b.create<arith::CmpIOp>(arith::CmpIPredicate::sle, kept, b.integer(0)),
                    b.create<arith::CmpIOp>(arith::CmpIPredicate::sle, steps, b.integer(0))),
             cancelled);
  Value running = b.create<arith::SelectOp>(finished, b.integer(0), b.integer(1));
  write(running, request("running"), zero);
  b.create<mk_cta::PostOp>(counter, zero, b.create<arith::IndexCastOp>(b.getI64Type(), ended[1]));
  b.create<mk_cta::PublishStepOp>(context);
}

void KindEmitter::emitAcrossRows(AcrossRowsOp op) {
  Value input = memoryOf(op.getInput()), zero = b.index(0), one = b.index(1);
  Value rows = rowCount(kind.getDomain());
  Type f32 = b.getF32Type();
  StringRef how = op.getHow();
  double infinity = std::numeric_limits<double>::infinity();
  double first = how == "max" ? -infinity : how == "min" ? infinity : 0.0;
  b.loop(zero, b.index(getColumns(op.getInput())), one, [&](Value column) {
    Value total =
        b.loop(zero, rows, one, b.constant(f32, first), [&](Value row, ValueRange carried) {
          Value value = read(input, {row, column});
          Value next = how == "max"   ? b.create<arith::MaximumFOp>(carried[0], value).getResult()
                       : how == "min" ? b.create<arith::MinimumFOp>(carried[0], value).getResult()
                                      : b.fadd(carried[0], value);
          return SmallVector<Value>{next};
        })[0];
    if (how == "mean")
      total = b.fdiv(total, b.create<arith::SIToFPOp>(f32, b.toI32(rows)));
    b.loop(zero, rows, one, [&](Value row) { write(total, outputs[0].memory, {row, column}); });
  });
}

void KindEmitter::emitFinish() {
  write(b.integer(0), request("running"), b.index(0));
  b.create<mk_cta::PublishStepOp>(context);
}

LogicalResult KindEmitter::emitSerial() {
  Operation *anchor = kind.getAnchor();
  return llvm::TypeSwitch<Operation *, LogicalResult>(anchor)
      .Case([&](TopkRouteOp op) { return emitTopkRoute(op), success(); })
      .Case([&](ArgmaxReduceOp op) { return emitArgmaxReduce(op), success(); })
      .Case([&](SampleOp op) { return emitSample(op); })
      .Case([&](AcrossRowsOp op) { return emitAcrossRows(op), success(); })
      .Case([&](AdvanceOp op) { return emitAdvance(op), success(); })
      .Case([&](FinishOp) { return emitFinish(), success(); })
      .Default([&](Operation *op) { return refuse(op, "has no serial body"); });
}
