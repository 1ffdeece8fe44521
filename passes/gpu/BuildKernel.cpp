// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/gpu/GpuEmitter.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace mlir::mk {
#define GEN_PASS_DEF_BUILDKERNEL
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
/// The loader keeps twice the bytes in flight while the consumers have fewer tiles than this to
/// use.
constexpr int64_t kFewTiles = 5;

struct BuildKernel : mk::impl::BuildKernelBase<BuildKernel> {
  using BuildKernelBase::BuildKernelBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    for (auto program : llvm::make_early_inc_range(module.getOps<mk_task::ProgramOp>())) {
      auto tables = program.getOps<mk_task::TableOp>();
      if (tables.empty()) {
        program.emitOpError("expects a table: run mk-build-table before");
        return signalPassFailure();
      }
      KernelBuilder(program, *tables.begin(), trace).build();
      program.erase();
    }
  }

  /// What the loader must know of a kind; `chunks` is 0 for one without tiles.
  struct Stream {
    Value chunks, chunkBytes, group, ofRows;
  };

  struct KernelBuilder {
    KernelBuilder(mk_task::ProgramOp program, mk_task::TableOp table, bool trace)
        : b(program.getLoc(), program.getContext()), program(program), table(table), trace(trace),
          target(getTarget(program)), options(getOptions(program)), layout(program, target) {}

    GpuBuilder b;
    mk_task::ProgramOp program;
    mk_task::TableOp table;
    bool trace;
    TargetAttr target;
    OptionsAttr options;
    SharedLayout layout;
    Value context, worker, thread, full, empty, quit, overdue, used, ringWait, sizes;

    /// An array of int32 of the request.
    Value requestArray(StringRef name) {
      for (mk_task::RequestArray &array : mk_task::requestArrays(options))
        if (array.name == name)
          return b.view(context, "request", b.index(array.offset), {array.count}, {1},
                        b.getI32Type());
      llvm_unreachable("not an array of Abi.def");
    }
    Value readRequest(StringRef name) { return b.read(requestArray(name), b.index(0)); }

    void build() {
      b.setInsertionPointToEnd(cast<ModuleOp>(program->getParentOp()).getBody());
      auto main = b.create<func::FuncOp>("mk_main",
                                         b.getFunctionType(b.getType<mk_cta::ContextType>(), {}));
      main->setAttr("mk.kernel", b.getI32IntegerAttr(kThreads)); // see mk-mark-kernels
      Block *entry = main.addEntryBlock();
      b.setInsertionPointToStart(entry);
      context = entry->getArgument(0);
      worker = b.toIndex(b.create<NVVM::BlockIdXOp>(b.getI32Type()));
      thread = b.thread();
      full = b.shared(0, {layout.stages}, b.getI64Type());
      empty = b.shared(layout.stages * 8, {layout.stages}, b.getI64Type());
      quit = b.shared(SharedLayout::kQuit, {1}, b.getI32Type());
      overdue = b.shared(SharedLayout::kOverdue, {1}, b.getI32Type());
      used = b.shared(SharedLayout::kUsed, {1}, b.getI32Type());
      if (trace)
        ringWait = b.shared(SharedLayout::kRingWait, {1}, b.getI32Type());
      sizes = b.shared(SharedLayout::kSizes, {2, SharedLayout::sizes + 1}, b.getI32Type());
      b.when(b.equal(thread, b.index(0)), [&] {
        b.create<mk_cta::RingInitOp>(full, empty, kConsumerWarps);
        b.write(b.integer(0), quit, b.index(0));
        b.write(b.integer(0), overdue, b.index(0));
        b.write(b.integer(0), used, b.index(0));
        if (trace)
          b.write(b.integer(0), ringWait, b.index(0));
      });
      b.create<NVVM::Barrier0Op>();
      Value consumes = b.less(thread, b.index(kConsumers));
      b.when(
          consumes,
          [&] {
            setRegisters(kConsumerRegisters, NVVM::SetMaxRegisterAction::increase);
            consume();
          },
          [&] {
            setRegisters(kLoaderRegisters, NVVM::SetMaxRegisterAction::decrease);
            b.when(b.less(thread, b.index(kConsumers + 32)), [&] { stream(); });
          });
      b.create<func::ReturnOp>();
    }

    void setRegisters(int32_t count, NVVM::SetMaxRegisterAction action) {
      b.create<NVVM::SetMaxRegisterOp>(count, action);
    }

    Value instructionAt(Value number) {
      return b.create<mk_cta::InstructionOp>(context, worker, number);
    }
    Value field(Value instruction, StringRef name, int64_t i = 0) {
      return b.create<mk_cta::FieldOp>(instruction, name, i);
    }
    /// Over the worker's instructions, while the first value that `body` carries on is true. Gives
    /// the number of the instruction that it did not come to, then what was carried.
    SmallVector<Value>
    walk(ValueRange carried,
         function_ref<SmallVector<Value>(Value instruction, Value number, ValueRange carried)>
             body) {
      SmallVector<Value> init = {b.index(0), instructionAt(b.index(0))};
      init.append(carried.begin(), carried.end());
      SmallVector<Value> result = b.loopWhile(
          init,
          [&](ValueRange at) -> Value {
            Value more = b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, field(at[1], "kind"),
                                                 b.index(-1));
            return b.both(more, at[2]);
          },
          [&](ValueRange at) {
            // The next instruction is on its way while this one runs.
            Value following = instructionAt(b.add(at[0], 1));
            SmallVector<Value> next = {b.add(at[0], 1), following};
            next.append(body(at[1], at[0], at.drop_front(2)));
            return next;
          });
      result.erase(result.begin() + 1);
      return result;
    }
    void stamp(Value line, int64_t which) {
      if (trace)
        b.when(b.equal(thread, b.index(0)),
               [&] { b.create<mk_cta::StampOp>(line, which, Value()); });
    }
    /// What the body has waited for the ring; the next one begins with nothing.
    void stampRingWait(Value line) {
      if (!trace)
        return;
      b.when(b.equal(thread, b.index(0)), [&] {
        Value waited = b.create<arith::ExtUIOp>(b.getI64Type(), b.read(ringWait, b.index(0)));
        b.create<mk_cta::StampOp>(line, 4, waited);
        b.write(b.integer(0), ringWait, b.index(0));
      });
    }
    /// What the last step of the launch before was asked to do, for the first step of this one.
    Value sizesOfLast() {
      return b.view(context, "step", b.index(16), {SharedLayout::sizes}, {1}, b.getI32Type());
    }
    Value copyOf(Value step) { return b.rem(step, 2); }
    Value otherCopy(Value copy) { return b.sub(b.index(1), copy); }

    void readPages(Value header, Value tokens, Value thread) {
      int64_t pages = std::min<int64_t>(SharedLayout::kPages, options.getPagesPerSlot());
      Value rows =
          b.shared(SharedLayout::kPageRows, {kMaxRows, SharedLayout::kPages}, b.getI32Type());
      Value table = requestArray("page_table");
      Value column = b.rem(thread, 16);
      b.loop(b.div(thread, 16), tokens, b.index(kConsumers / 16), [&](Value token) {
        b.when(b.less(column, b.index(pages)), [&] {
          Value slot = b.read(header, {b.index(SharedLayout::headerOf("slots")), token});
          Value entry = b.add(b.mul(b.toIndex(slot), options.getPagesPerSlot()), column);
          b.write(b.read(table, entry), rows, {token, column});
        });
      });
    }

    /// Keeps what the step is asked to do on the chip: every task looks at it.
    void readHeader(Value tokens, Value rows, Value copy) {
      Value thread = b.create<mk_cta::ThreadOp>();
      Value header = b.shared(SharedLayout::kHeader, {4, kMaxRows}, b.getI32Type());
      for (StringRef name : {"tokens", "positions", "slots", "rows"})
        for (mk_task::RequestArray &array : mk_task::requestArrays(options)) {
          if (array.name != name)
            continue;
          int64_t number = SharedLayout::headerOf(name), first = number * 32;
          Value i = b.sub(thread, b.index(first)); // one warp an array: the loads go together
          Value mine = b.create<arith::CmpIOp>(arith::CmpIPredicate::ult, i,
                                               b.index(std::min<int64_t>(array.count, kMaxRows)));
          b.when(mine,
                 [&] { b.write(b.read(requestArray(name), i), header, {b.index(number), i}); });
        }
      b.barrier();
      readPages(header, tokens, thread);
      b.when(b.less(thread, b.index(32)), [&] {
        Value token = b.min(b.rem(thread, kMaxRows), b.sub(tokens, b.index(1)));
        Value position = b.read(header, {b.index(SharedLayout::headerOf("positions")), token});
        Value last = b.reduceLanes(position, 32, [&](Value x, Value y) -> Value {
          return b.create<arith::MaxSIOp>(x, y);
        });
        b.when(b.equal(thread, b.index(0)), [&] {
          b.write(b.toI32(tokens), sizes, {copy, b.index(SharedLayout::tokens)});
          b.write(b.toI32(rows), sizes, {copy, b.index(SharedLayout::rows)});
          b.write(last, sizes, {copy, b.index(SharedLayout::lastPosition)});
        });
      });
      b.barrier();
    }

    //===------------------------------------------------------------------------------------------===//
    // The consumers
    //===------------------------------------------------------------------------------------------===//

    void consume() {
      Type i32 = b.getI32Type();
      Value step = b.create<mk_cta::StepOp>(context);
      Value zero = b.integer(0);
      Waiter waiter{b, context, worker, thread};
      Value before = otherCopy(copyOf(step));
      b.when(b.less(thread, b.index(SharedLayout::sizes)),
             [&] { b.write(b.read(sizesOfLast(), thread), sizes, {before, thread}); });
      Value runs = b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, readRequest("running"), zero);
      SmallVector<Value> init = {step, runs, zero, zero, zero};
      Value ended = b.loopWhile(
          init, [&](ValueRange state) { return state[1]; },
          [&](ValueRange state) {
            Value tokens = b.toIndex(readRequest("n_tokens")),
                  rows = b.toIndex(readRequest("n_rows"));
            Value step = state[0], next = b.add(step, 1);
            readHeader(tokens, rows, copyOf(step));
            SmallVector<Value> list = {b.integer(1, 1), state[2], state[3], state[4]};
            list = walk(list, [&](Value instruction, Value number, ValueRange at) {
              Value line =
                  trace ? b.create<mk_cta::TraceLineOp>(context, worker, step, number) : Value();
              stamp(line, 0);
              Value arrived = wait(waiter, instruction, number, step);
              stamp(line, 1);
              SmallVector<Value> result = {arrived};
              result.append(b.choose(
                  TypeRange{i32, i32, i32}, arrived,
                  [&] {
                    return run(instruction, number, line, step, tokens, rows,
                               RingPlace::of(at.drop_front(1)));
                  },
                  [&] { return SmallVector<Value>(at.drop_front(1)); }));
              return result;
            });
            waiter.waitForStep(list[0], next);
            Value runs = b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, readRequest("running"),
                                                 b.integer(0));
            return SmallVector<Value>{next, b.both(runs, waiter.alive()), list[2], list[3],
                                      list[4]};
          })[0];
      Value keeps =
          b.both(b.equal(worker, b.index(0)), b.less(thread, b.index(SharedLayout::sizes)));
      b.when(keeps, [&] {
        b.write(b.read(sizes, {otherCopy(copyOf(ended)), thread}), sizesOfLast(), thread);
      });
      b.when(b.equal(thread, b.index(0)), [&] { b.write(b.integer(1), quit, b.index(0)); });
    }

    /// Kinds that have something to do before wait themselves. Those with a few words to read for a
    /// thread look at these at once, if a hint is all that they would wait for.
    Value wait(Waiter &waiter, Value instruction, Value number, Value step) {
      Value itself = b.integer(0, 1), kind = field(instruction, "kind");
      Value waits = field(instruction, "waits"), hints = field(instruction, "hints");
      Value onlyHints =
          b.both(b.equal(waits, b.index(1)),
                 b.equal(b.createOrFold<arith::AndIOp>(hints, b.index(2)), b.index(2)));
      for (auto [i, symbol] : llvm::enumerate(table.getKinds().getAsRange<FlatSymbolRefAttr>())) {
        auto op = cast<mk_task::KindOp>(SymbolTable::lookupSymbolIn(program, symbol));
        Value isKind = b.equal(kind, b.index(i));
        if (op.getKindClass() == mk_task::KindClass::columns)
          isKind = b.both(isKind, onlyHints);
        else if (!waitsItself(op))
          continue;
        itself = b.createOrFold<arith::OrIOp>(itself, isKind);
      }
      return b.choose(
          b.getI1Type(), itself, [&] { return b.integer(1, 1); },
          [&] { return waiter.wait(instruction, number, step); });
    }

    SmallVector<Value> run(Value instruction, Value number, Value line, Value step, Value tokens,
                           Value rows, RingPlace ring) {
      Type i32 = b.getI32Type();
      SmallVector<int64_t> cases;
      for (size_t i = 0; i < table.getKinds().size(); ++i)
        cases.push_back(i);
      // Fields are spread over the lanes: all of a warp read them.
      Value kind = field(instruction, "kind"), signal = field(instruction, "signal"),
            hints = field(instruction, "hints");
      auto choose =
          b.create<scf::IndexSwitchOp>(TypeRange{i32, i32, i32}, kind, cases, cases.size());
      {
        OpBuilder::InsertionGuard guard(b);
        for (auto [i, symbol] : llvm::enumerate(table.getKinds().getAsRange<FlatSymbolRefAttr>())) {
          b.createBlock(&choose.getCaseRegions()[i]);
          auto call =
              b.create<func::CallOp>(symbol.getValue(), TypeRange{i32, i32, i32},
                                     ValueRange{context, instruction, number, worker, step, tokens,
                                                rows, ring.slot, ring.parity, ring.used});
          b.create<scf::YieldOp>(call.getResults());
        }
        b.createBlock(&choose.getDefaultRegion()); // -2: an instruction that only waits
        b.create<scf::YieldOp>(ring.values());
      }
      b.barrier(); // all threads' writes come before the one signal
      stamp(line, 2);
      Value exists = b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, signal, b.index(0));
      b.when(b.both(b.equal(thread, b.index(0)), exists), [&] {
        Value hint = b.createOrFold<arith::AndIOp>(hints, b.index(1));
        b.create<mk_cta::ArriveOp>(
            context, signal, b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, hint, b.index(0)));
      });
      stamp(line, 3);
      stampRingWait(line);
      return SmallVector<Value>(choose.getResults());
    }

    //===------------------------------------------------------------------------------------------===//
    // The loader
    //===------------------------------------------------------------------------------------------===//

    Stream streamOf(Value kind) {
      SmallVector<int64_t> cases;
      for (size_t i = 0; i < table.getKinds().size(); ++i)
        cases.push_back(i);
      Type index = b.getIndexType();
      auto choose = b.create<scf::IndexSwitchOp>(TypeRange{index, index, index, index}, kind, cases,
                                                 cases.size());
      OpBuilder::InsertionGuard guard(b);
      auto yield = [&](int64_t chunks, int64_t bytes, int64_t group, int64_t ofRows) {
        b.create<scf::YieldOp>(
            ValueRange{b.index(chunks), b.index(bytes), b.index(group), b.index(ofRows)});
      };
      for (auto [i, symbol] : llvm::enumerate(table.getKinds().getAsRange<FlatSymbolRefAttr>())) {
        b.createBlock(&choose.getCaseRegions()[i]);
        auto kind = cast<mk_task::KindOp>(SymbolTable::lookupSymbolIn(program, symbol));
        if (auto linear = dyn_cast<LinearOp>(kind.getAnchor())) {
          mk_task::FragmentTile tile(linear.getInnerSize());
          yield(tile.chunks, tile.chunkBytes(), tile.group,
                kind.getDomain() == mk_task::Domain::rows);
        } else {
          yield(0, 0, 1, 0);
        }
      }
      b.createBlock(&choose.getDefaultRegion());
      yield(0, 0, 1, 0);
      return {choose.getResult(0), choose.getResult(1), choose.getResult(2), choose.getResult(3)};
    }

    /// Issues the copies in the order in which the consumers use them, step after step, and never
    /// waits for anything but a slot: it runs ahead of the events by what the ring holds.
    void stream() {
      Value zero = b.integer(0), lane = b.rem(thread, 32);
      Value steps = readRequest("steps"), noRows = b.equal(readRequest("n_rows"), zero);
      // Carried: alive, place of the next copy, and of the oldest that may not have landed.
      SmallVector<Value> init = {b.integer(1, 1), zero, zero, zero, zero, zero, zero};
      SmallVector<Value> outer = {zero};
      outer.append(init);
      outer = b.loopWhile(
          outer,
          [&](ValueRange state) -> Value {
            return b.both(b.create<arith::CmpIOp>(arith::CmpIPredicate::slt, state[0], steps),
                          state[1]);
          },
          [&](ValueRange state) {
            SmallVector<Value> list =
                walk(state.drop_front(1), [&](Value instruction, Value, ValueRange at) {
                  return streamTask(instruction, noRows, lane, at);
                });
            SmallVector<Value> next = {b.addI32(state[0], b.integer(1))};
            next.append(list.begin() + 1, list.end());
            return next;
          });
      // A CTA must not end while the copy engine writes to its memory.
      SmallVector<Value> rest = {outer[4], outer[5], outer[6], outer[7]};
      b.loopWhile(
          rest,
          [&](ValueRange at) -> Value {
            return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, at[0], at[3]);
          },
          [&](ValueRange at) {
            RingPlace landed = await(RingPlace{at[1], at[2], at[3]});
            return SmallVector<Value>{at[0], landed.slot, landed.parity, landed.used};
          });
    }

    RingPlace await(RingPlace oldest) {
      b.create<mk_cta::RingAwaitOp>(b.getI1Type(), full, b.toIndex(oldest.slot), oldest.parity,
                                    Value());
      return b.next(oldest, layout.stages);
    }

    SmallVector<Value> streamTask(Value instruction, Value noRows, Value lane, ValueRange state) {
      Value begin = field(instruction, "begin"), end = field(instruction, "end"),
            base = b.mul(field(instruction, "stream"), mk_task::kAlignment);
      Stream stream = streamOf(field(instruction, "kind"));
      Value ofRows = b.equal(stream.ofRows, b.index(1));
      Value none = b.both(ofRows, noRows);
      Value tiled = b.less(b.index(0), stream.chunks);
      Value units = b.select(none, b.index(0), b.sub(end, begin));
      units = b.select(tiled, units, b.index(0));
      Value chunked = b.less(b.index(1), stream.chunks);
      // See GpuLinear.cpp: chunks of four units in turn.
      Value batch = b.select(chunked, b.index(4), b.max(units, b.index(1)));
      return b.loop(b.index(0), units, batch, state, [&](Value from, ValueRange state) {
        Value inBatch = b.min(batch, b.sub(units, from));
        return b.loop(
            b.index(0), stream.chunks, b.index(1), state, [&](Value chunk, ValueRange state) {
              return b.loop(
                  b.index(0), inBatch, stream.group, state, [&](Value unit, ValueRange state) {
                    Value tile = b.add(b.mul(b.add(from, unit), stream.chunks), chunk);
                    Value offset = b.add(base, b.mul(tile, stream.chunkBytes));
                    Value bytes =
                        b.mul(b.min(stream.group, b.sub(inBatch, unit)), stream.chunkBytes);
                    return b.choose(
                        state.getTypes(), state[0],
                        [&] { return fill(offset, bytes, lane, state); },
                        [&] { return SmallVector<Value>(state); });
                  });
            });
      });
    }

    SmallVector<Value> fill(Value offset, Value bytes, Value lane, ValueRange state) {
      RingPlace next = RingPlace::of(state.slice(1, 3));
      // Bytes in flight delay every other access of the CTA, so there are no more than are needed.
      Value ahead = b.create<arith::SubIOp>(next.used, b.read(used, b.index(0)));
      Value few = b.create<arith::CmpIOp>(arith::CmpIPredicate::slt, ahead, b.integer(kFewTiles));
      int64_t least = std::max<int64_t>(1, target.getInFlight() / kSlotBytes);
      Value limit = b.select(few, b.integer(2 * least), b.integer(least));
      SmallVector<Value> oldest = b.loopWhile(
          state.slice(4, 3),
          [&](ValueRange at) -> Value {
            Value flying = b.create<arith::SubIOp>(next.used, at[2]);
            return b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, flying, limit);
          },
          [&](ValueRange at) { return await(RingPlace::of(at)).values(); });
      Value slot = b.toIndex(next.slot);
      Value parity = b.create<arith::XOrIOp>(next.parity, b.integer(1));
      Value free = b.create<mk_cta::RingAwaitOp>(b.getI1Type(), empty, slot, parity, quit);
      SmallVector<Value> result = {free};
      SmallVector<Value> after = b.choose(
          TypeRange{b.getI32Type(), b.getI32Type(), b.getI32Type()}, free,
          [&] {
            b.when(b.equal(lane, b.index(0)), [&] {
              Value ring = b.shared(layout.ring, {layout.stages, kSlotBytes / 4}, b.getI32Type());
              b.create<mk_cta::RingFillOp>(ring, slot, full, context, "stream", offset,
                                           b.toI32(bytes));
            });
            return b.next(next, layout.stages).values();
          },
          [&] { return next.values(); });
      result.append(after);
      result.append(oldest);
      return result;
    }
  };
};
} // namespace
