// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/plan/Kinds.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::mk {

using namespace mk_task;

static KindClass classify(Operation *op) {
  if (isa<LinearOp>(op))
    return KindClass::tiles;
  if (isa<AttendOp>(op))
    return KindClass::attend;
  if (isa<MoeLinearOp, MoeCombineOp>(op))
    return KindClass::experts;
  return isa<TopkRouteOp, ArgmaxReduceOp, SampleOp, AcrossRowsOp, AdvanceOp, FinishOp>(op)
             ? KindClass::serial
             : KindClass::columns;
}

FlatSymbolRefAttr Kinds::get(Operation *op, ArrayRef<Value> arguments, StringRef layouts,
                             Domain domain) {
  MLIRContext *context = op->getContext();
  OpBuilder builder(context);
  builder.setInsertionPointToEnd(&section);
  auto kind = builder.create<KindOp>(op->getLoc(), builder.getStringAttr("kind"),
                                     KindClassAttr::get(context, classify(op)),
                                     DomainAttr::get(context, domain), IntegerAttr(), ArrayAttr());
  Block &body = kind.getBody().emplaceBlock();
  IRMapping mapping;
  for (Value argument : arguments) {
    if (argument)
      mapping.map(argument, body.addArgument(argument.getType(), argument.getLoc()));
    else
      body.addArgument(getPackedType(op), op->getLoc());
  }
  builder.setInsertionPointToEnd(&body);
  Operation *clone = builder.clone(*op, mapping);
  if (multiplies(clone))
    getMultiplied(clone).assign(body.getArgument(1));
  builder.create<YieldOp>(op->getLoc(), clone->getResults());

  // Kinds are equal if their texts are: these hold ops, attributes and types, but no locations and,
  // so far, no name.
  std::string text = layouts.str();
  llvm::raw_string_ostream stream(text);
  kind->print(stream, OpPrintingFlags().assumeVerified().useLocalScope());
  auto [known, isNew] = byText.try_emplace(text);
  if (isNew) {
    kind.setSymNameAttr(names.unique(describe(op)));
    known->second = FlatSymbolRefAttr::get(kind.getSymNameAttr());
  } else {
    kind.erase();
  }
  return known->second;
}

} // namespace mlir::mk
