// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The end of a step of a function with inputs: the next one of the call's agenda, if there is one.
// The host has written it down before the run, the last step first, so that the number of steps
// that are left says which is next.
#include "passes/gpu/GpuEmitter.h"

using namespace mlir;
using namespace mlir::mk;

/// A lane for each row.
void GpuEmitter::emitFinish() {
  Type i32 = b.getI32Type();
  Value zero = b.index(0);
  constexpr StringRef arrays[] = {"tokens", "positions", "slots"};
  int64_t most = std::min<int64_t>(options.getMaxTokens(), kMaxRows);
  b.when(b.less(thread, b.index(32)), [&] {
    Value left = b.create<arith::SubIOp>(readRequest("steps", zero), b.integer(1));
    Value some = b.create<arith::CmpIOp>(arith::CmpIPredicate::sgt, left, b.integer(0));
    Value more = b.both(some, b.equal(readRequest("cancel", zero), b.integer(0)));
    b.syncWarp(); // every lane has read before one writes
    b.when(more, [&] {
      Value number = b.sub(b.toIndex(left), b.index(1));
      Value entry =
          view("agenda", b.wideMul(number, 4 * kMaxRows * 4), {4, kMaxRows}, {kMaxRows, 1}, i32);
      b.when(b.less(thread, b.index(most)), [&] {
        for (auto [i, name] : llvm::enumerate(arrays))
          b.write(b.read(entry, {b.index(int64_t(i) + 1), thread}), request(name), thread);
      });
      b.when(b.equal(thread, zero),
             [&] { b.write(b.read(entry, {zero, zero}), request("n_tokens"), zero); });
    });
    b.when(b.equal(thread, zero), [&] {
      b.write(left, request("steps"), zero);
      b.write(b.select(more, b.integer(1), b.integer(0)), request("running"), zero);
    });
    b.syncWarp();
    b.when(b.equal(thread, zero), [&] { b.create<mk_cta::PublishStepOp>(frame.context); });
  });
}
