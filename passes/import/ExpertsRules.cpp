// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What the experts of a layer do: the gate of one that all rows have, and the custom operator that
// the importer puts in place of those that a row chooses: torch.mk.experts(x [N,D], experts [N,k],
// weights [N,k], gate_up [E,2I,D], down [E,D,I], activation)
// -> [N,D]

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// What an expert does with the products of its gate and up matrices, which lie below each other.
static void gateInEpilogue(MoeLinearOp op, int64_t columns) {
  OpBuilder builder(op.getContext());
  Type f32 = builder.getF32Type();
  auto accumulators = RankedTensorType::get({ShapedType::kDynamic, 2 * columns}, f32);
  auto rows = RankedTensorType::get({ShapedType::kDynamic, columns}, f32);
  Location location = op.getLoc();
  Block *block = builder.createBlock(&op.getEpilogue(), {}, {accumulators}, {location});
  Value gate = builder.create<SliceOp>(location, rows, block->getArgument(0), 0);
  Value up = builder.create<SliceOp>(location, rows, block->getArgument(0), columns);
  builder.create<YieldOp>(location, builder.create<GluOp>(location, rows, gate, up).getResult());
}

std::optional<Meaning> mk::emitExperts(Conversion &conversion, Operation *op, int64_t chosen,
                                       function_ref<Value(int64_t experts)> makeRoute) {
  auto refuse = [&](const Twine &reason) -> std::optional<Meaning> {
    conversion.note(reason);
    return std::nullopt;
  };
  Meaning x = conversion.get(op->getOperand(0));
  Meaning gateUp = conversion.get(op->getOperand(3)), down = conversion.get(op->getOperand(4));
  if (gateUp.kind != Kind::Experts || down.kind != Kind::Experts)
    return refuse("the weights of the experts must be parameters");
  ArrayRef<int64_t> up = conversion.getWeightShape(gateUp.weight);
  ArrayRef<int64_t> back = conversion.getWeightShape(down.weight);
  int64_t experts = up[0], columns = up[2], inner = back[2];
  if (back[0] != experts || up[1] != 2 * inner || back[1] != columns)
    return refuse("the gate, up and down matrices of the experts must fit each other");
  if (readString(op->getOperand(5)) != StringRef("silu"))
    return refuse("experts with another activation than silu");
  if (x.view.domain || !(joinAxes(x.view.axes) == plainAxes(columns)))
    return refuse("the experts must see whole rows of tokens");
  Value rows = conversion.getPlainRows(x, op->getLoc());
  Value route = rows ? makeRoute(experts) : Value();
  if (!route)
    return std::nullopt;
  Location location = op->getLoc();
  IntegerAttr count = conversion.getI64(chosen);
  Value products =
      conversion.create<MoeLinearOp>(location, conversion.getRowsType(chosen * inner), rows, route,
                                     conversion.getWeight(gateUp, location), count);
  gateInEpilogue(products.getDefiningOp<MoeLinearOp>(), inner);
  Value result =
      conversion.create<MoeCombineOp>(location, conversion.getRowsType(columns), products, route,
                                      conversion.getWeight(down, location), count);
  return conversion.makeRows(result, x.view.axes, Value());
}

static std::optional<Meaning> experts(Conversion &conversion, Operation *op) {
  Meaning chosen = conversion.get(op->getOperand(1)), weights = conversion.get(op->getOperand(2));
  if (chosen.kind != Kind::TopExperts || weights.kind != Kind::RouteWeights ||
      !(chosen.view == weights.view) || chosen.chosen != weights.chosen) {
    conversion.note("the experts of a row must be those of the largest of its router's logits, and "
                    "their weights the "
                    "probabilities of these, as they are or divided by their sum");
    return std::nullopt;
  }
  return emitExperts(conversion, op, weights.chosen, [&](int64_t experts) {
    if (weights.view.domain || !(joinAxes(weights.view.axes) == plainAxes(experts))) {
      conversion.note("the router must have one column for each expert");
      return Value();
    }
    Meaning rows = weights;
    rows.kind = Kind::Rows;
    Value logits = conversion.getPlainRows(rows, op->getLoc());
    UnitAttr normalize = weights.normalized ? UnitAttr::get(op->getContext()) : UnitAttr();
    return logits ? conversion.create<TopkRouteOp>(op->getLoc(), logits.getType(), logits,
                                                   conversion.getI64(weights.chosen), normalize,
                                                   conversion.getF64(weights.number))
                  : Value();
  });
}

/// sigmoid(x) of rows of one column
static std::optional<Meaning> sigmoid(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  if (x.kind != Kind::Rows || getColumns(x.view.value) != 1)
    return std::nullopt;
  x.kind = Kind::RowGate;
  return x;
}

/// sigmoid(gate) * x, the gate broadcast over the columns of a row
static std::optional<Meaning> gateRows(Conversion &conversion, Operation *op) {
  for (auto [left, right] : {std::pair(0, 1), std::pair(1, 0)}) {
    Meaning gate = conversion.get(op->getOperand(left)), x = conversion.get(op->getOperand(right));
    if (gate.kind != Kind::RowGate || x.kind != Kind::Rows || x.view.axes.empty())
      continue;
    Axes axes = x.view.axes;
    axes.back() = Axis::unit();
    if (gate.view.domain != x.view.domain || gate.view.axes != axes) {
      conversion.note("a gate must have one number for each row");
      return std::nullopt;
    }
    gate.kind = Kind::Rows;
    Value rows = conversion.getPlainRows(x, op->getLoc());
    Value numbers = conversion.getPlainRows(gate, op->getLoc());
    if (!rows || !numbers)
      return std::nullopt;
    Value result = conversion.create<GateRowsOp>(op->getLoc(), rows.getType(), rows, numbers);
    return conversion.makeRows(result, x.view.axes, x.view.domain);
  }
  return std::nullopt;
}

void mk::addExpertsRules(Rules &rules) {
  rules.add("torch.mk.experts", 6, experts);
  rules.add("torch.aten.sigmoid", 1, sigmoid);
  rules.add("torch.aten.mul.Tensor", 2, gateRows);
}
