// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/plan/Weights.h"
#include "passes/plan/Kinds.h"

namespace mlir::mk {

using namespace mk_task;

/// A tensor with the view of it: equal for two weights that are the same.
static Attribute getSource(WeightOp weight) {
  if (ViewAttr view = weight.getViewAttr())
    return ArrayAttr::get(weight.getContext(), {weight.getSourceAttr(), view});
  return weight.getSourceAttr();
}

static std::pair<FlatSymbolRefAttr, Attribute> splitSource(Attribute source) {
  if (auto both = dyn_cast<ArrayAttr>(source))
    return {cast<FlatSymbolRefAttr>(both[0]), both[1]};
  return {cast<FlatSymbolRefAttr>(source), UnitAttr::get(source.getContext())};
}

Weights::Weights(Names &names, func::FuncOp func) : names(names) {
  func.walk([&](LinearOp linear) {
    if (linear.getWeights().size() != 1)
      return;
    if (auto weight = linear.getWeights().front().getDefiningOp<WeightOp>())
      multiplied.insert({getSource(weight), getPackedType(linear)});
  });
}

bool Weights::isMultiplied(WeightOp table) const {
  return multiplied.contains({getSource(table), table.getType()});
}

mk_task::WeightOp Weights::declare(Location loc, ArrayRef<Attribute> sources, Type type,
                                   Layout layout) {
  SmallVector<Attribute> tensors, views;
  SmallVector<StringRef> parts;
  for (Attribute source : sources) {
    auto [tensor, view] = splitSource(source);
    tensors.push_back(tensor);
    views.push_back(view);
    parts.push_back(tensor.getValue());
  }
  OpBuilder builder(type.getContext());
  builder.setInsertionPointToEnd(&section);
  auto weight = builder.create<mk_task::WeightOp>(
      loc, names.unique(joinNames(parts)), builder.getArrayAttr(tensors),
      LayoutAttr::get(builder.getContext(), layout), TypeAttr::get(type));
  if (!llvm::all_of(views, llvm::IsaPred<UnitAttr>))
    weight.setViewsAttr(builder.getArrayAttr(views));
  if (sources.size() == 1)
    single.try_emplace({sources.front(), type}, weight);
  return weight;
}

FlatSymbolRefAttr Weights::pack(Operation *product) {
  SmallVector<Attribute> sources =
      llvm::map_to_vector(getMultiplied(product), [](OpOperand &weight) {
        return getSource(weight.get().getDefiningOp<WeightOp>());
      });
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
  Attribute source = getSource(table);
  mk_task::WeightOp weight = single.lookup({source, table.getType()});
  if (!weight)
    weight =
        declare(table.getLoc(), source, table.getType(), gathered ? Layout::tiles : Layout::rows);
  weight.setGathered(gathered);
  return FlatSymbolRefAttr::get(weight.getSymNameAttr());
}

} // namespace mlir::mk
