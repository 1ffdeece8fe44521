// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/gpu/GpuEmitter.h"
#include "passes/gpu/Loader.h"
#include "passes/gpu/Request.h"
#include "passes/gpu/TableWalk.h"
#include "passes/gpu/TaskConditions.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

namespace mlir::mk {
#define GEN_PASS_DEF_BUILDKERNEL
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
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
      OptionsAttr options = getOptions(program);
      KernelBuilder(program, *tables.begin(), trace, options.getMaxTokens()).build("mk_main");
      if (hasKernelOfFew(options))
        KernelBuilder(program, *tables.begin(), trace, kGroupRows)
            .build("mk_main_" + std::to_string(kGroupRows));
      if (!keep)
        program.erase();
    }
  }

  struct KernelBuilder {
    KernelBuilder(mk_task::ProgramOp program, mk_task::TableOp table, bool trace, int64_t most)
        : b(program.getLoc(), program.getContext()), program(program), tableOp(table), trace(trace),
          most(most), target(getTarget(program)), options(getOptions(program)),
          layout(program, target), seen(findSeen(program)) {}

    GpuBuilder b;
    mk_task::ProgramOp program;
    mk_task::TableOp tableOp;
    bool trace;
    int64_t most; // tokens of a step
    TargetAttr target;
    OptionsAttr options;
    SharedLayout layout;
    mk_task::BufferOp seen; // in place of rows of logits
    Value context, worker, thread, quit, ringWait, sizes;

    Value requestArray(StringRef name) { return mk::requestArray(b, context, options, name); }
    Value readRequest(StringRef name) { return b.read(requestArray(name), b.index(0)); }

    void build(StringRef name) {
      b.setInsertionPointToEnd(cast<ModuleOp>(program->getParentOp()).getBody());
      auto main =
          b.create<func::FuncOp>(name, b.getFunctionType(b.getType<mk_cta::ContextType>(), {}));
      main->setAttr("mk.kernel", b.getI32IntegerAttr(threadsOf(target))); // see mk-mark-kernels
      Block *entry = main.addEntryBlock();
      b.setInsertionPointToStart(entry);
      context = entry->getArgument(0);
      worker = b.toIndex(b.create<NVVM::BlockIdXOp>(b.getI32Type()));
      thread = b.thread();
      quit = SharedLayout::flag(b, SharedLayout::kQuit);
      if (trace)
        ringWait = SharedLayout::flag(b, SharedLayout::kRingWait);
      sizes = SharedLayout::sizeTable(b);
      b.when(b.equal(thread, b.index(0)), [&] {
        b.create<mk_cta::RingInitOp>(layout.full(b), layout.empty(b), kConsumerWarps);
        for (int64_t flag : {SharedLayout::kQuit, SharedLayout::kOverdue, SharedLayout::kUsed})
          b.write(b.integer(0), SharedLayout::flag(b, flag), b.index(0));
        if (trace)
          b.write(b.integer(0), ringWait, b.index(0));
        // Loader and consumers have both left the step before this launch.
        Value before = b.wideSub(b.create<mk_cta::StepOp>(context), b.index(1));
        for (int64_t flag : {SharedLayout::kReady, SharedLayout::kPassed})
          b.create<mk_cta::TellOp>(SharedLayout::flag(b, flag), before);
        if (layout.consumerList != layout.loaderList) { // there are experts
          Value none = SharedLayout::instructionNumber(b, context, before, b.index(0));
          b.create<mk_cta::TellOp>(SharedLayout::flag(b, SharedLayout::kRouted), none);
        }
        if (TaskConditions::countMost(program)) {
          Value none = SharedLayout::instructionNumber(b, context, before, b.index(0));
          b.create<mk_cta::TellOp>(SharedLayout::flag(b, SharedLayout::kAsked), none);
        }
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
            b.when(b.less(thread, b.index(kConsumers + 32)),
                   [&] { Loader(b, program, tableOp, context, worker, most).emit(); });
          });
      b.create<func::ReturnOp>();
    }

    void setRegisters(int32_t count, NVVM::SetMaxRegisterAction action) {
      if (target.getSetRegisters())
        b.create<NVVM::SetMaxRegisterOp>(count, action);
    }

    Value field(Value instruction, StringRef name) {
      return TableWalk{b, context, worker}.field(instruction, name);
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
      Value rows = SharedLayout::pageRows(b);
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
    void readHeader(Value tokens, Value rows, Value step) {
      Value copy = copyOf(step);
      Value thread = b.create<mk_cta::ThreadOp>();
      Value header = SharedLayout::header(b);
      for (StringRef name : {"tokens", "positions", "slots", "rows"}) {
        if (seen && name == "rows")
          continue;
        int64_t count = mk_task::findRequestArray(options, name).count,
                number = SharedLayout::headerOf(name), first = number * 32;
        Value i = b.sub(thread, b.index(first)); // one warp an array: the loads go together
        Value mine = b.create<arith::CmpIOp>(arith::CmpIPredicate::ult, i,
                                             b.index(std::min<int64_t>(count, kMaxRows)));
        b.when(mine, [&] { b.write(b.read(requestArray(name), i), header, {b.index(number), i}); });
      }
      b.barrier();
      readPages(header, tokens, thread);
      b.when(b.less(thread, b.index(32)), [&] {
        Value token = b.min(b.rem(thread, kMaxRows), b.sub(tokens, b.index(1)));
        int64_t farthest = SharedLayout::headerOf("positions");
        if (seen) {
          farthest = SharedLayout::kSeen;
          Value number =
              b.toIndex(b.read(header, {b.index(SharedLayout::headerOf("tokens")), token}));
          Value offset = b.wideAdd(b.wideMul(number, seen.getPitch()), b.index(*seen.getOffset()));
          Value record = b.view(context, "inputs", offset, {1}, {1}, b.getI32Type());
          b.write(b.read(record, b.index(0)), header, {b.index(farthest), b.rem(thread, kMaxRows)});
          b.syncWarp();
        }
        Value position = b.read(header, {b.index(farthest), token});
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
      b.when(b.equal(thread, b.index(0)),
             [&] { b.create<mk_cta::TellOp>(SharedLayout::flag(b, SharedLayout::kReady), step); });
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
            Value step = state[0], next = b.wideAdd(step, b.index(1));
            readHeader(tokens, rows, step);
            SmallVector<Value> list = {b.integer(1, 1), state[2], state[3], state[4]};
            TaskConditions conditions(b, program, context, worker, /*ofLoader=*/false);
            if (conditions)
              list.push_back(conditions.nothing());
            TableWalk table{b, context, worker};
            list = table.walk(list, [&](Value instruction, Value number, ValueRange at) {
              Value line =
                  trace ? b.create<mk_cta::TraceLineOp>(context, worker, step, number) : Value();
              stamp(line, 0);
              TaskConditions::Answer answer;
              auto plainly = [&] { return wait(waiter, instruction, number, step); };
              if (conditions)
                answer = conditions.wait(waiter, instruction, number, step, at[4],
                                         kindsOf(program, tableOp), plainly);
              else
                answer.known = plainly();
              stamp(line, 1);
              SmallVector<Value> result = {answer.known};
              result.append(b.choose(
                  TypeRange{i32, i32, i32}, answer.known,
                  [&] {
                    return run(instruction, number, line, step, tokens, rows,
                               RingPlace::of(at.drop_front(1)), answer.met);
                  },
                  [&] { return SmallVector<Value>(at.slice(1, 3)); }));
              if (conditions)
                result.push_back(answer.last);
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

    /// Kinds that have something to do before wait themselves. Those whose threads look at words
    /// anyway do so at once, if a hint is all that they would wait for.
    Value wait(Waiter &waiter, Value instruction, Value number, Value step) {
      Value itself = b.integer(0, 1), kind = field(instruction, "kind");
      Value onlyHints = waiter.onlyHints(instruction);
      for (auto [i, op] : llvm::enumerate(kindsOf(program, tableOp))) {
        Value isKind = b.equal(kind, b.index(i));
        if (op.getKindClass() == mk_task::KindClass::columns || op.getStreamed() ||
            isa<TopkRouteOp>(op.getAnchor()))
          isKind = b.both(isKind, onlyHints);
        else if (!waitsItself(op))
          continue;
        itself = b.createOrFold<arith::OrIOp>(itself, isKind);
      }
      return b.choose(
          b.getI1Type(), itself, [&] { return b.integer(1, 1); },
          [&] { return waiter.wait(instruction, number, step); });
    }

    /// The functions of the kinds, in place of which `.passed` ones take back what must be.
    SmallVector<Value> callKind(Value kind, ValueRange arguments, RingPlace ring, bool passed) {
      Type i32 = b.getI32Type();
      auto cases = llvm::to_vector(llvm::seq<int64_t>(tableOp.getKinds().size()));
      auto choose =
          b.create<scf::IndexSwitchOp>(TypeRange{i32, i32, i32}, kind, cases, cases.size());
      OpBuilder::InsertionGuard guard(b);
      for (auto [i, kind] : llvm::enumerate(kindsOf(program, tableOp))) {
        b.createBlock(&choose.getCaseRegions()[i]);
        SmallVector<Value> results = ring.values();
        if (passed && clearsWhenPassed(program, kind))
          b.create<func::CallOp>(getPassedName(kind), TypeRange(), arguments);
        else if (!passed)
          results = llvm::to_vector(ValueRange(
              b.create<func::CallOp>(getBodyName(kind, most), TypeRange{i32, i32, i32}, arguments)
                  .getResults()));
        b.create<scf::YieldOp>(results);
      }
      b.createBlock(&choose.getDefaultRegion()); // -2: an instruction that only waits
      b.create<scf::YieldOp>(ring.values());
      return SmallVector<Value>(choose.getResults());
    }

    /// `met`: whether its conditions are; null if no instruction has any.
    SmallVector<Value> run(Value instruction, Value number, Value line, Value step, Value tokens,
                           Value rows, RingPlace ring, Value met) {
      Type i32 = b.getI32Type();
      // Fields are spread over the lanes: all of a warp read them.
      Value kind = field(instruction, "kind"), signal = field(instruction, "signal"),
            hints = field(instruction, "hints");
      SmallVector<Value> arguments = {context, instruction, number,    worker,      step,
                                      tokens,  rows,        ring.slot, ring.parity, ring.used};
      auto call = [&](bool passed) { return callKind(kind, arguments, ring, passed); };
      SmallVector<Value> after =
          met ? b.choose(
                    TypeRange{i32, i32, i32}, met, [&] { return call(/*passed=*/false); },
                    [&] { return call(/*passed=*/true); })
              : call(/*passed=*/false);
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
      return after;
    }
  };
};
} // namespace
