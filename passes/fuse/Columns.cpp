// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Which ops an epilogue can hold: those that need, for each column, only that column of the
// accumulators and fixed partners. The tile map gives each run of columns one pairing; this is the
// same rule before there are tiles.

#include "passes/fuse/Columns.h"

#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mk {

using Lookup = llvm::function_ref<std::optional<Columns>(Value)>;
using Predicate = llvm::function_ref<bool(Value)>;

bool Columns::operator==(const Columns &other) const {
  return offset == other.offset && width == other.width && pairing == other.pairing &&
         size == other.size;
}

//===----------------------------------------------------------------------===//
// Where a value comes from
//===----------------------------------------------------------------------===//

// Column c of one value becomes the partner of column c of its neighbour.
static std::optional<Columns> pairGate(const Columns &a, const Columns &b) {
  int64_t offset = std::min(a.offset, b.offset);
  if (a.pairing != Columns::None || b.pairing != Columns::None || a.width != b.width ||
      std::max(a.offset, b.offset) != offset + a.width)
    return std::nullopt;
  return Columns{offset, a.width, Columns::Gate};
}

static std::optional<Columns> pairAlone(std::optional<Columns> columns, Columns::Pairing pairing,
                                        int64_t size) {
  if (!columns || columns->pairing != Columns::None)
    return std::nullopt;
  return Columns{columns->offset, columns->width, pairing, size};
}

// Operands from outside the epilogue are read at the same place as those from inside.
static std::optional<Columns> inferElementwise(ValueRange operands, Lookup lookup,
                                               Predicate isInside) {
  std::optional<Columns> all;
  for (Value operand : llvm::make_filter_range(operands, isInside)) {
    std::optional<Columns> columns = lookup(operand);
    if (!columns || columns->pairing == Columns::Blocks)
      return std::nullopt;
    if (all && !(*all == *columns))
      columns = pairGate(*all, *columns);
    if (!columns)
      return std::nullopt;
    all = columns;
  }
  return all;
}

// The columns of the result of `op`, given those of its operands.
static std::optional<Columns> infer(Operation *op, Lookup lookup, Predicate isInside) {
  if (isElementwise(op))
    return inferElementwise(op->getOperands(), lookup, isInside);
  return llvm::TypeSwitch<Operation *, std::optional<Columns>>(op)
      .Case([&](RopeOp rope) {
        return pairAlone(lookup(rope.getInput()), Columns::Rope, rope.getHeadDim());
      })
      .Case([&](ArgmaxPartialOp partial) {
        return pairAlone(lookup(partial.getInput()), Columns::Blocks, partial.getBlock());
      })
      .Case([&](SliceOp slice) -> std::optional<Columns> {
        // Only accumulators are sliced: a slice of something computed could cut a pair.
        std::optional<Columns> columns = lookup(slice.getInput());
        if (!columns || columns->offset != 0 || columns->pairing != Columns::None)
          return std::nullopt;
        return Columns{static_cast<int64_t>(slice.getOffset()), getColumns(slice.getType())};
      })
      .Default([](Operation *) { return std::nullopt; });
}

std::optional<Columns> getColumnsOf(LinearOp linear, Value value) {
  Block &block = linear.getEpilogue().front();
  if (value == block.getArgument(0))
    return Columns{0, linear.getOuterSize()};
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != &block)
    return std::nullopt;
  return infer(
      op, [&](Value operand) { return getColumnsOf(linear, operand); },
      [&](Value operand) { return operand.getParentBlock() == &block; });
}

// The same for a result of the linear, which its epilogue yields.
static std::optional<Columns> getColumnsOfResult(LinearOp linear, Value result) {
  if (result.getDefiningOp() != linear)
    return std::nullopt;
  if (linear.getEpilogue().empty())
    return Columns{0, linear.getOuterSize()};
  Operation *yield = linear.getEpilogue().front().getTerminator();
  return getColumnsOf(linear, yield->getOperand(cast<OpResult>(result).getResultNumber()));
}

//===----------------------------------------------------------------------===//
// What may stand together
//===----------------------------------------------------------------------===//

// Whether what two values both need is paired alike. Without partners any part of the columns may
// be read, but a paired run is read as a whole or not at all.
static bool agree(const Columns &a, const Columns &b) {
  bool disjoint = a.getEnd() <= b.offset || b.getEnd() <= a.offset;
  bool bothPlain = a.pairing == Columns::None && b.pairing == Columns::None;
  if (disjoint || bothPlain || a == b)
    return true;
  if (a.pairing != Columns::None && b.pairing != Columns::None)
    return false;
  const Columns &paired = a.pairing == Columns::None ? b : a;
  const Columns &plain = a.pairing == Columns::None ? a : b;
  bool isFirst = plain.offset == paired.offset;
  bool isSecond = paired.pairing == Columns::Gate && plain.offset == paired.offset + paired.width;
  return plain.width == paired.width && (isFirst || isSecond);
}

// Whether nothing in the epilogue reads `columns` in another pairing.
static bool agreesWithAll(LinearOp linear, const Columns &columns) {
  if (linear.getEpilogue().empty())
    return true;
  Block &block = linear.getEpilogue().front();
  auto agrees = [&](Value value) {
    std::optional<Columns> other = getColumnsOf(linear, value);
    return !other || agree(*other, columns);
  };
  for (Operation &op : block.without_terminator())
    if (!llvm::all_of(op.getResults(), agrees))
      return false;
  // The accumulators themselves count if anything but slices reads them.
  bool onlySliced = llvm::all_of(block.getArgument(0).getUsers(), llvm::IsaPred<SliceOp>);
  return onlySliced || agrees(block.getArgument(0));
}

bool fitsColumns(LinearOp linear, Operation *op) {
  auto lookup = [&](Value operand) { return getColumnsOfResult(linear, operand); };
  auto isInside = [&](Value operand) { return operand.getDefiningOp() == linear; };
  if (auto append = dyn_cast<KvAppendOp>(op)) {
    auto storesHeads = [&](Value operand) {
      std::optional<Columns> columns = lookup(operand);
      return columns && (columns->pairing == Columns::None || columns->pairing == Columns::Rope);
    };
    return storesHeads(append.getKeys()) && storesHeads(append.getValues());
  }
  std::optional<Columns> columns = infer(op, lookup, isInside);
  return columns && agreesWithAll(linear, *columns);
}

bool pairsColumns(Operation *op) {
  if (!isElementwise(op) || op->getNumOperands() != 2)
    return false;
  auto linear = op->getOperand(0).getDefiningOp<LinearOp>();
  if (!linear || op->getOperand(1).getDefiningOp() != linear)
    return false;
  std::optional<Columns> a = getColumnsOfResult(linear, op->getOperand(0));
  std::optional<Columns> b = getColumnsOfResult(linear, op->getOperand(1));
  return a && b && !(*a == *b);
}

} // namespace mlir::mk
