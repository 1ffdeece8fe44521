// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/Passes.h"
#include "passes/analysis/Table.h"
#include "llvm/Support/JSON.h"

namespace mlir::mk {
#define GEN_PASS_DEF_PRINTACCESSES
#include "passes/Passes.h.inc"

namespace {
using namespace mk_task;

int64_t findObject(AccessAnalysis &analysis, FlatSymbolRefAttr name) {
  return llvm::find_if(analysis.getObjects(),
                       [&](const MemoryObject &object) { return object.name == name.getValue(); }) -
         analysis.getObjects().begin();
}

/// Pairs of a predicate's object and the side that its instruction runs on.
void printConditions(llvm::json::OStream &json, const Table &table, const Instruction &instruction,
                     AccessAnalysis &analysis) {
  ArrayAttr conditions =
      instruction.hasBody() ? table.getFamily(instruction).getConditionsAttr() : ArrayAttr();
  if (!conditions)
    return;
  json.attributeArray("conditions", [&] {
    for (auto condition : conditions.getAsRange<ConditionAttr>())
      json.array([&] {
        json.value(findObject(analysis, condition.getBuffer()));
        json.value(condition.getTaken());
      });
  });
}

/// An mk.choose reads a side only where it takes it: the object of the predicate and the side.
void printSide(llvm::json::OStream &json, FamilyOp family, AccessAnalysis &analysis,
               const Access &access) {
  auto choose = dyn_cast_or_null<mk::ChooseOp>(analysis.getKind(family).getAnchor());
  if (!choose || access.write)
    return;
  auto operandOf = [&](Value value) {
    return cast<FlatSymbolRefAttr>(family.getOperands()[cast<BlockArgument>(value).getArgNumber()]);
  };
  int64_t taken = findObject(analysis, operandOf(choose.getTaken())),
          other = findObject(analysis, operandOf(choose.getOther()));
  if (taken == other || (access.object != taken && access.object != other))
    return;
  json.attributeArray("side", [&] {
    json.value(findObject(analysis, operandOf(choose.getPredicate())));
    json.value(access.object == taken);
  });
}

void printInstruction(llvm::json::OStream &json, const Table &table, const Instruction &instruction,
                      AccessAnalysis &analysis) {
  json.objectBegin();
  json.attribute("family", instruction.hasBody() ? instruction.family : -1);
  json.attribute("name", instruction.hasBody() ? table.getFamily(instruction).getSymName() : "");
  json.attributeArray("units", [&] {
    json.value(instruction.begin);
    json.value(instruction.end);
  });
  json.attributeArray("waits", [&] {
    for (const Instruction::Wait &wait : instruction.waits)
      json.array([&] {
        json.value(wait.event);
        json.value(wait.arrivals);
        json.value(wait.lag);
        json.value(wait.hint);
      });
  });
  json.attribute("ends",
                 instruction.hasBody() && endsStep(analysis.getKind(table.getFamily(instruction))));
  json.attribute("signal", instruction.signal);
  printConditions(json, table, instruction, analysis);
  json.attributeArray("accesses", [&] {
    if (!instruction.hasBody())
      return;
    for (const Access &access :
         analysis.getAccesses(table.getFamily(instruction), instruction.begin, instruction.end))
      json.object([&] {
        json.attribute("object", int64_t(access.object));
        json.attribute("write", access.write);
        json.attribute("shares", access.shares);
        json.attribute("early", access.early);
        printSide(json, table.getFamily(instruction), analysis, access);
        json.attributeArray("columns", [&] {
          for (Columns columns : access.columns)
            json.array([&] {
              json.value(columns.begin);
              json.value(columns.end);
            });
        });
      });
  });
  json.objectEnd();
}

LogicalResult printAccesses(ProgramOp program, raw_ostream &os) {
  FailureOr<AccessAnalysis> analysis = AccessAnalysis::get(program);
  if (failed(analysis))
    return failure();
  for (TableOp op : program.getBody().getOps<TableOp>()) {
    FailureOr<Table> table = Table::decode(op, *analysis);
    if (failed(table))
      return failure();
    llvm::json::OStream json(os);
    json.object([&] {
      json.attribute("program", program.getSymName());
      json.attributeArray("objects", [&] {
        for (const MemoryObject &object : analysis->getObjects())
          json.object([&] {
            json.attribute("name", object.name);
            json.attribute("space", int(object.space));
            json.attribute("begin", object.begin);
            json.attribute("end", object.end);
            json.attribute("columns", object.columns);
            json.attribute("flagged", object.flagged);
            json.attribute("forwarded", object.forwarded);
          });
      });
      json.attributeArray("workers", [&] {
        for (int worker = 0; worker < table->workers; ++worker)
          json.array([&] {
            for (const Instruction &instruction : table->instructions)
              if (instruction.worker == worker)
                printInstruction(json, *table, instruction, *analysis);
          });
      });
    });
    os << "\n";
  }
  return success();
}

struct PrintAccesses : impl::PrintAccessesBase<PrintAccesses> {
  void runOnOperation() override {
    markAllAnalysesPreserved();
    for (auto program : getOperation().getOps<ProgramOp>())
      if (failed(printAccesses(program, llvm::outs())))
        return signalPassFailure();
  }
};
} // namespace
} // namespace mlir::mk
