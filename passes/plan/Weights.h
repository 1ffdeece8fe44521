// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_PLAN_WEIGHTS_H
#define MK_PASSES_PLAN_WEIGHTS_H

#include "dialects/mk_task/MkTask.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/plan/Names.h"

namespace mlir::mk {

/// The weights of a program under construction: each matrix is stored once for each family that
/// multiplies by it, and not again if it is looked up by row too.
class Weights {
public:
  Weights(Names &names, func::FuncOp func);

  /// All matrices of a product as one, in tiles.
  FlatSymbolRefAttr pack(Operation *product);
  /// A vector, or a table that is looked up by row: from the tiles if it is multiplied too.
  FlatSymbolRefAttr placeTable(WeightOp table);
  /// Whether some mk.linear takes the tensor as its only weight.
  bool isMultiplied(WeightOp table) const;

  Block section; // the weights, in the order of their first use

private:
  /// A tensor of the checkpoint with its storage type: `mk.weight` ops that agree in both are one.
  using Matrix = std::pair<Attribute, Type>;
  mk_task::WeightOp declare(Location loc, ArrayRef<Attribute> sources, Type type,
                            mk_task::Layout layout);

  Names &names;
  DenseSet<Matrix> multiplied;
  DenseMap<Matrix, mk_task::WeightOp> single; // the first weight with this tensor alone
  DenseSet<Operation *> streamed;             // what some family multiplies by
};

} // namespace mlir::mk

#endif // MK_PASSES_PLAN_WEIGHTS_H
