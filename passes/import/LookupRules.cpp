// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Rows by index: the embedding of each token, and the rows whose logits were asked for.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// torch.aten.embedding(table, tokens, padding_idx, scale_grad_by_freq, sparse): the last three
/// concern training only.
static std::optional<Meaning> embed(Conversion &conversion, Operation *op) {
  Meaning table = conversion.get(op->getOperand(0)), tokens = conversion.get(op->getOperand(1));
  if (table.kind != Kind::Matrix || tokens.kind != Kind::Indices)
    return std::nullopt;
  bool isToken = tokens.view.value == conversion.getInput("tokens") && tokens.number == 0;
  auto [rows, columns] = conversion.getMatrixShape(table);
  bool mayShift = tokens.view.value == conversion.getInput("positions") ||
                  conversion.isOwnIndices(tokens.view.value);
  bool isPosition = mayShift && tokens.number >= 0 && tokens.number < rows;
  if (!isToken && !isPosition) {
    conversion.note("an embedding must look up the step's tokens, or its positions plus a number");
    return std::nullopt;
  }
  Value result = conversion.create<EmbeddingOp>(
      op->getLoc(), conversion.getRowsType(columns), conversion.getWeight(table, op->getLoc()),
      tokens.view.value, conversion.getI64(int64_t(tokens.number)));
  Axes axes = tokens.view.axes;
  axes.push_back(Axis::columns(columns, 1));
  return conversion.makeRows(result, axes, Value());
}

/// torch.aten.index.Tensor(x, [none.., rows, none..])
static std::optional<Meaning> selectRows(Conversion &conversion, Operation *op) {
  Meaning x = conversion.get(op->getOperand(0));
  std::optional<SmallVector<Value>> indices = readList(op->getOperand(1));
  if (!indices || indices->size() > x.view.axes.size() || x.view.domain)
    return std::nullopt;
  Value selected = conversion.getInput("rows");
  int64_t count = 0;
  for (auto [axis, index] : llvm::zip(x.view.axes, *indices)) {
    if (isNone(index))
      continue;
    Meaning rows = conversion.get(index);
    bool isSelection = rows.kind == Kind::Indices && rows.view.value == selected &&
                       rows.number == 0 && rows.view.axes.size() == 1 && axis.isRow();
    if (!isSelection) {
      conversion.note("only the rows of the input 'rows' can be selected");
      return std::nullopt;
    }
    ++count;
  }
  if (count != 1)
    return std::nullopt;
  Value input = conversion.getRows(x, op->getLoc());
  if (!input)
    return std::nullopt;
  Value result = conversion.create<SelectRowsOp>(op->getLoc(), input.getType(), input, selected);
  return conversion.makeRows(result, x.view.axes, selected);
}

void mk::addLookupRules(Rules &rules) {
  rules.add("torch.aten.embedding", 2, embed);
  rules.add("torch.aten.index.Tensor", 2, selectRows);
}
