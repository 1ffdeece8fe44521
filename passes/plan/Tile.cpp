// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/Passes.h"
#include "passes/analysis/TileMap.h"

namespace mlir::mk {
#define GEN_PASS_DEF_TILE
#include "passes/Passes.h.inc"

using namespace mk_task;

static LogicalResult tileKind(KindOp kind, TargetAttr target, bool dump) {
  Builder builder(kind.getContext());
  switch (kind.getKindClass()) {
  case KindClass::serial:
    kind.setUnits(1);
    return success();
  case KindClass::attend:
    // How many items there are is known only at run time: each worker takes an equal share.
    kind.setUnits(target.getWorkers());
    return success();
  case KindClass::tiles:
  case KindClass::experts:
  case KindClass::columns:
    FailureOr<TileMap> map = computeTileMap(kind, target.getLanes());
    if (failed(map))
      return failure();
    if (dump)
      map->dump(llvm::errs() << kind.getSymNameAttr() << ": ");
    kind.setUnits(map->units());
    kind.setSegmentsAttr(
        builder.getArrayAttr(SmallVector<Attribute>(map->segments.begin(), map->segments.end())));
    return success();
  }
  llvm_unreachable("every class is above");
}

namespace {
struct Tile : impl::TileBase<Tile> {
  using TileBase::TileBase;

  void runOnOperation() override {
    TargetAttr target = requireTarget(getOperation());
    if (!target)
      return signalPassFailure();
    for (auto program : getOperation().getOps<ProgramOp>())
      for (auto kind : program.getBody().getOps<KindOp>())
        if (failed(tileKind(kind, target, dump)))
          return signalPassFailure();
  }
};
} // namespace
} // namespace mlir::mk
