// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/cpu/VectorMath.h"

#include "dialects/mk_cta/MkCta.h"
#include "dialects/mk_task/MkTask.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::mk {
#define GEN_PASS_DEF_BUILDMAIN
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
struct BuildMain : mk::impl::BuildMainBase<BuildMain> {
  using BuildMainBase::BuildMainBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    for (auto program : llvm::make_early_inc_range(module.getOps<mk_task::ProgramOp>())) {
      auto tables = program.getOps<mk_task::TableOp>();
      if (tables.empty()) {
        program.emitOpError("expects a table: run mk-build-table before");
        return signalPassFailure();
      }
      OptionsAttr options = requireOptions(module);
      if (!options)
        return signalPassFailure();
      build(program, *tables.begin(), options);
      program.erase();
    }
  }

  void build(mk_task::ProgramOp program, mk_task::TableOp table, OptionsAttr options) {
    ModuleOp module = getOperation();
    CodeBuilder b(program.getLoc(), &getContext());
    b.setInsertionPointToEnd(module.getBody());
    auto contextType = b.getType<mk_cta::ContextType>();
    auto main =
        b.create<func::FuncOp>("mk_main", b.getFunctionType({contextType, b.getI32Type()}, {}));
    Block *entry = main.addEntryBlock();
    b.setInsertionPointToStart(entry);
    Value context = entry->getArgument(0), worker = b.toIndex(entry->getArgument(1));

    Value running = b.create<mk_cta::ViewOp>(
        MemRefType::get({1}, b.getI32Type(), StridedLayoutAttr::get(&getContext(), 0, {1})),
        context, "request", b.index(mk_task::findRequestArray(options, "running").offset));
    Value zero = b.index(0);
    auto goesOn = [&]() -> Value {
      Value flag = b.create<memref::LoadOp>(running, zero);
      return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, flag, b.integer(0));
    };

    // Between runs no step is in flight, so every worker begins with the same number. The flag is
    // carried, not read in the condition: await_step is what makes reading it safe.
    Value first = b.create<mk_cta::ContextWordOp>(context, "step");
    b.loopWhile(
        ValueRange{first, goesOn()}, [&](ValueRange carried) { return carried[1]; },
        [&](ValueRange carried) {
          Value next = b.add(carried[0], 1);
          runList(b, table, context, worker, carried[0]);
          b.create<mk_cta::AwaitStepOp>(context, worker, next);
          return SmallVector<Value>{next, goesOn()};
        });
    b.create<func::ReturnOp>();
  }

  /// Whether the body runs in this step; null if every body of the table runs in every step.
  Value areConditionsMet(CodeBuilder &b, mk_task::TableOp table, Value context, Value instruction) {
    auto program = cast<mk_task::ProgramOp>(table->getParentOp());
    size_t most = 0;
    for (auto family : program.getOps<mk_task::FamilyOp>())
      if (ArrayAttr conditions = family.getConditionsAttr())
        most = std::max(most, conditions.size());
    Value result, zero = b.index(0), hints;
    if (most)
      hints = b.toI32(b.create<mk_cta::FieldOp>(instruction, "hints", 0));
    auto bit = [&](int64_t place) -> Value {
      Value masked = b.create<arith::AndIOp>(hints, b.integer(1 << place));
      return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, masked, b.integer(0));
    };
    for (size_t i = 0; i < most; ++i) {
      int64_t place = mk_task::kConditionBit + 2 * i;
      Value met = b.choose(
          bit(place),
          [&]() -> Value {
            Value word =
                b.create<mk_cta::FieldOp>(instruction, "operand", mk_task::getConditionWord(i));
            auto type =
                MemRefType::get({1}, b.getF32Type(), StridedLayoutAttr::get(&getContext(), 0, {1}));
            Value buffer = b.create<mk_cta::ViewOp>(type, context, "activations", b.mul(word, 64));
            Value number = b.create<memref::LoadOp>(buffer, zero);
            Value taken = b.create<arith::CmpFOp>(arith::CmpFPredicate::UNE, number,
                                                  b.constant(b.getF32Type(), 0.0));
            return b.create<arith::CmpIOp>(arith::CmpIPredicate::eq, taken, bit(place + 1));
          },
          [&] { return b.integer(1, 1); });
      result = result ? Value(b.create<arith::AndIOp>(result, met)) : met;
    }
    return result;
  }

  /// The instructions of one worker for one step, up to the one whose kind is -1.
  void runList(CodeBuilder &b, mk_task::TableOp table, Value context, Value worker, Value step) {
    b.loopWhile(
        b.index(0),
        [&](ValueRange carried) -> Value {
          Value instruction = b.create<mk_cta::InstructionOp>(context, worker, carried[0]);
          Value kind = b.create<mk_cta::FieldOp>(instruction, "kind", 0);
          return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, kind, b.index(-1));
        },
        [&](ValueRange carried) {
          Value instruction = b.create<mk_cta::InstructionOp>(context, worker, carried[0]);
          Value line =
              trace ? b.create<mk_cta::TraceLineOp>(context, worker, step, carried[0]) : Value();
          auto stamp = [&](int64_t which) {
            if (trace)
              b.create<mk_cta::StampOp>(line, which, Value());
          };
          auto field = [&](StringRef name, int64_t i = 0) -> Value {
            return b.create<mk_cta::FieldOp>(instruction, name, i);
          };
          stamp(0);
          for (int64_t i = 0; i < mk_task::kMaxWaits; ++i)
            b.when(b.less(b.index(i), field("waits")), [&] {
              Value steps = b.sub(b.add(step, 1), field("wait_lag", i));
              Value target = b.mul(field("wait_arrivals", i), steps);
              b.create<mk_cta::WaitOp>(context, worker, field("wait_event", i), target);
            });

          stamp(1);
          auto runBody = [&] {
            SmallVector<int64_t> cases;
            for (size_t i = 0; i < table.getKinds().size(); ++i)
              cases.push_back(i);
            auto choose =
                b.create<scf::IndexSwitchOp>(TypeRange(), field("kind"), cases, cases.size());
            {
              OpBuilder::InsertionGuard guard(b);
              for (auto [i, symbol] :
                   llvm::enumerate(table.getKinds().getAsRange<FlatSymbolRefAttr>())) {
                b.createBlock(&choose.getCaseRegions()[i]);
                b.create<func::CallOp>(symbol.getValue(), TypeRange(),
                                       ValueRange{context, instruction, worker});
                b.create<scf::YieldOp>();
              }
              b.createBlock(&choose.getDefaultRegion()); // -2: an instruction that only waits
              b.create<scf::YieldOp>();
            }
          };
          if (Value holds = areConditionsMet(b, table, context, instruction))
            b.when(holds, runBody);
          else
            runBody();

          stamp(2);
          Value signal = field("signal");
          Value exists = b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, signal, b.index(0));
          b.when(exists, [&] { b.create<mk_cta::SignalOp>(context, signal); });
          stamp(3);
          return SmallVector<Value>{b.add(carried[0], 1)};
        });
  }
};
} // namespace
