// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/Cost.h"

namespace mlir::mk {

using namespace mk_task;

double CostModel::event() const {
  // A cache line moves from core to core twice: about 200 ns on current server and desktop parts.
  constexpr double nanoseconds = 200;
  return nanoseconds * target.getBandwidth(); // GB/s are bytes per nanosecond
}

int64_t CostModel::maxRows(KindOp kind) const {
  return kind.getDomain() == Domain::tokens ? options.getMaxTokens() : options.getMaxRows();
}

/// Bytes of a row of all rows that the kind takes or gives.
static double getRowBytes(TypeRange types) {
  double bytes = 0;
  for (Type type : types)
    if (auto rows = dyn_cast<RankedTensorType>(type);
        rows && rows.getRank() == 2 && rows.isDynamicDim(0))
      bytes += double(rows.getDimSize(1)) * rows.getElementTypeBitWidth() / 8;
  return bytes;
}

double CostModel::unit(KindOp kind, int64_t rows) const {
  double perRow =
      getRowBytes(kind.getYield()->getOperandTypes()) / double(kind.getUnits().value_or(1));
  switch (kind.getKindClass()) {
  case KindClass::tiles:
    return getTileBytes(kind.getBody().getArgument(1).getType(), target.getLanes()) + rows * perRow;
  case KindClass::experts: {
    // As if no two rows chose the same: it is one row that is balanced.
    auto type = cast<RankedTensorType>(kind.getStreamed().getType());
    int64_t chosen = isa<MoeLinearOp>(kind.getAnchor())
                         ? cast<MoeLinearOp>(kind.getAnchor()).getChosen()
                         : cast<MoeCombineOp>(kind.getAnchor()).getChosen();
    return std::min(rows * chosen, type.getDimSize(0)) * getTileBytes(type, target.getLanes()) +
           rows * perRow;
  }
  case KindClass::columns:
    if (auto generic = dyn_cast<GenericOp>(kind.getAnchor())) { // as if each point read its inputs
      double points = 1;
      for (int64_t size : generic.getReductionSizes())
        points *= size;
      return rows * perRow * (1 + points * generic.getInputs().size());
    }
    return rows * 2 * perRow; // read and written
  case KindClass::attend: {
    // Half a cache of one sequence per row, or a window; every worker has the same share, so only
    // the order of magnitude counts.
    auto attend = cast<AttendOp>(kind.getAnchor());
    auto cache = attend.getCache().getType();
    int64_t positions = options.getMaxLength() / 2, window = attend.getWindow();
    double position = 2.0 * cache.getHeads() * cache.getHeadDim() *
                      cache.getElementType().getIntOrFloatBitWidth() / 8;
    return rows * position * (window ? std::min(window, positions) : positions) /
           target.getWorkers();
  }
  case KindClass::serial:
    return rows * getRowBytes(kind.getBody().getArgumentTypes());
  }
  llvm_unreachable("every class is above");
}

} // namespace mlir::mk
