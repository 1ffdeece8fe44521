// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/plan/Weights.h"
#include "passes/plan/Kinds.h"

namespace mlir::mk {

using namespace mk_task;

static Attribute getSource(Value weight) {
  return weight.getDefiningOp<WeightOp>().getSourceAttr();
}

Weights::Weights(Names &names, func::FuncOp func) : names(names) {
  func.walk([&](LinearOp linear) {
    if (linear.getWeights().size() == 1 && linear.getWeights().front().getDefiningOp<WeightOp>())
      multiplied.insert({getSource(linear.getWeights().front()), getPackedType(linear)});
  });
}

bool Weights::isMultiplied(WeightOp table) const {
  return multiplied.contains({table.getSourceAttr(), table.getType()});
}

mk_task::WeightOp Weights::declare(Location loc, ArrayRef<Attribute> sources, Type type,
                                   Layout layout) {
  auto parts = llvm::map_to_vector(
      sources, [](Attribute source) { return cast<FlatSymbolRefAttr>(source).getValue(); });
  OpBuilder builder(type.getContext());
  builder.setInsertionPointToEnd(&section);
  auto weight = builder.create<mk_task::WeightOp>(
      loc, names.unique(joinNames(parts)), builder.getArrayAttr(sources),
      LayoutAttr::get(builder.getContext(), layout), TypeAttr::get(type));
  if (sources.size() == 1)
    single.try_emplace({sources.front(), type}, weight);
  return weight;
}

FlatSymbolRefAttr Weights::pack(Operation *product) {
  SmallVector<Attribute> sources = llvm::map_to_vector(
      getMultiplied(product), [](OpOperand &weight) { return getSource(weight.get()); });
  Type type = getPackedType(product);
  mk_task::WeightOp weight;
  if (sources.size() == 1)
    weight = single.lookup({sources.front(), type});
  // A worker reads its tiles in the order of its tasks, so a second family needs tiles of its own.
  if (!weight || streamed.contains(weight))
    weight = declare(product->getLoc(), sources, type, Layout::tiles);
  streamed.insert(weight);
  return FlatSymbolRefAttr::get(weight.getSymNameAttr());
}

FlatSymbolRefAttr Weights::placeTable(WeightOp table) {
  bool gathered = isMultiplied(table);
  mk_task::WeightOp weight = single.lookup({table.getSourceAttr(), table.getType()});
  if (!weight)
    weight = declare(table.getLoc(), table.getSourceAttr(), table.getType(),
                     gathered ? Layout::tiles : Layout::rows);
  weight.setGathered(gathered);
  return FlatSymbolRefAttr::get(weight.getSymNameAttr());
}

} // namespace mlir::mk
