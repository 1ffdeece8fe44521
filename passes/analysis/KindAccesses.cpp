// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/KindAccesses.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::mk_task {

int64_t getWidth(Type type) {
  if (auto cache = dyn_cast<mk::CacheType>(type))
    return 2 * cache.getHeads() * cache.getHeadDim();
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getRank() < 2 ? 1 : tensor.getDimSize(1);
}

/// Columns of heads of `headDim`, and with each its partner `apart` columns from it: for the first
/// `half` columns, and those that are their partners.
static ColumnSet withRopePartners(const ColumnSet &set, int64_t headDim, int64_t half,
                                  int64_t apart, int64_t width) {
  ColumnSet result = set;
  for (Columns c : set)
    for (int64_t head = c.begin / headDim * headDim; head < c.end; head += headDim) {
      for (Columns p : clip({c}, head, head + half, apart))
        result.push_back(p);
      for (Columns p : clip({c}, head + apart, head + apart + half, -apart))
        result.push_back(p);
    }
  return intersect(normalize(std::move(result)), {{0, width}});
}

/// Heads of `headDim`, each wholly if one of its columns is in the set.
static ColumnSet wholeHeads(const ColumnSet &set, int64_t headDim) {
  ColumnSet result;
  for (Columns c : set)
    result.push_back({c.begin / headDim * headDim, (c.end + headDim - 1) / headDim * headDim});
  return normalize(std::move(result));
}

/// The `mk.rowwise` whose body has the value as an argument, if any.
static mk::RowwiseOp getRowwise(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  return argument ? dyn_cast_or_null<mk::RowwiseOp>(argument.getOwner()->getParentOp()) : nullptr;
}

ColumnSet KindAccesses::available(Value value) {
  if (value == accumulators)
    return units;
  if (mk::RowwiseOp rowwise = getRowwise(value)) {
    int64_t begin = rowwise.getFirstColumn(cast<BlockArgument>(value).getArgNumber());
    return clip(units, begin, begin + getWidth(value.getType()), -begin);
  }
  Operation *op = value.getDefiningOp();
  if (!op)
    return whole(value);
  if (mk::isElementwise(op)) { // a vector has every column
    ColumnSet result = available(op->getOperand(0));
    for (Value other : op->getOperands().drop_front())
      if (cast<RankedTensorType>(other.getType()).getRank() == 2)
        result = intersect(result, available(other));
    return result;
  }
  return llvm::TypeSwitch<Operation *, ColumnSet>(op)
      .Case([&](mk::SliceOp slice) {
        int64_t offset = slice.getOffset();
        return clip(available(slice.getInput()), offset, offset + getWidth(value.getType()),
                    -offset);
      })
      .Case<mk::RopeOp, mk::HeadNormOp>([&](auto unary) { return available(unary.getInput()); })
      .Case([&](mk::ArgmaxPartialOp partial) {
        ColumnSet result;
        int64_t block = partial.getBlock(), width = getWidth(partial.getInput().getType());
        for (Columns c : available(partial.getInput()))
          for (int64_t b = (c.begin + block - 1) / block; b * block < c.end; ++b)
            if (std::min((b + 1) * block, width) <= c.end)
              result.push_back({2 * b, 2 * b + 2});
        return normalize(std::move(result));
      })
      .Case([&](mk::KvAppendOp append) {
        int64_t half = getWidth(value.getType()) / 2;
        return unite(available(append.getKeys()),
                     clip(available(append.getValues()), 0, half, half));
      })
      .Default([&](Operation *) { return whole(value); });
}

void KindAccesses::demand(Value value, const ColumnSet &columns) {
  if (value == accumulators || columns.empty())
    return;
  Operation *op = value.getDefiningOp();
  if (!op) {
    auto argument = cast<BlockArgument>(value);
    if (mk::RowwiseOp rowwise = getRowwise(value))
      return demand(rowwise.getInputs()[argument.getArgNumber()], columns);
    if (argument.getOwner() == &body) {
      ColumnSet &set = reads[argument.getArgNumber()];
      set = unite(set, columns);
    }
    return;
  }
  if (mk::isElementwise(op)) {
    for (Value operand : op->getOperands())
      demand(operand, columns);
    return;
  }
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](mk::SliceOp slice) {
        demand(slice.getInput(), clip(columns, 0, getWidth(value.getType()), slice.getOffset()));
      })
      .Case([&](mk::ChooseOp choose) {
        demand(choose.getTaken(), columns);
        demand(choose.getOther(), columns);
        readWhole(choose.getPredicate());
      })
      .Case([&](mk::GateRowsOp gate) {
        demand(gate.getInput(), columns);
        readWhole(gate.getGate());
      })
      .Case([&](mk::HeadNormOp norm) {
        demand(norm.getInput(), wholeHeads(columns, norm.getHeadDim()));
      })
      .Case([&](mk::RopeOp rope) {
        int64_t width = getWidth(rope.getInput().getType());
        demand(rope.getInput(), withRopePartners(columns, rope.getHeadDim(), rope.getPairs(),
                                                 rope.getDistance(), width));
        readWhole(rope.getPositions());
      })
      .Case([&](mk::ArgmaxPartialOp partial) {
        ColumnSet blocks;
        int64_t block = partial.getBlock(), width = getWidth(partial.getInput().getType());
        for (Columns c : columns)
          blocks.push_back({c.begin / 2 * block, std::min((c.end + 1) / 2 * block, width)});
        demand(partial.getInput(), normalize(std::move(blocks)));
      })
      .Case([&](mk::KvAppendOp append) { // stores without looking at what the cache holds
        int64_t half = getWidth(value.getType()) / 2;
        demand(append.getKeys(), clip(columns, 0, half, 0));
        demand(append.getValues(), clip(columns, half, 2 * half, -half));
        readWhole(append.getPositions());
        readWhole(append.getSlots());
      })
      .Default([&](Operation *) {
        for (Value operand : op->getOperands())
          readWhole(operand);
      });
}

void KindAccesses::tiles() {
  auto linears = body.getOps<mk::LinearOp>();
  if (linears.empty())
    return serial();
  mk::LinearOp linear = *linears.begin();
  readWhole(linear.getInput());
  for (Operation &op : linear.getPrologue().getOps())
    for (Value operand : op.getOperands())
      if (operand.getParentRegion() != &linear.getPrologue())
        readWhole(operand);

  Region &epilogue = linear.getEpilogue();
  if (!epilogue.empty())
    accumulators = epilogue.getArgument(0);
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands())) {
    auto result = dyn_cast<OpResult>(yielded);
    if (!result || result.getOwner() != linear) {
      readWhole(yielded);
      write(i, whole(yielded));
    } else if (epilogue.empty()) {
      write(i, units);
    } else {
      Value value = mk::getYielded(result);
      ColumnSet columns = available(value);
      demand(value, columns);
      write(i, columns);
    }
  }
}

/// The rows and experts that a unit reads are known only at run time: its input and route are read
/// whole, and what it may write is its columns of each expert.
void KindAccesses::experts() {
  Operation *anchor = body.getTerminator()->getOperand(0).getDefiningOp();
  for (Value operand : anchor->getOperands())
    readWhole(operand);
  ColumnSet columns = units;
  Value value = mk::getYielded(anchor->getResult(0));
  if (value) {
    accumulators = cast<BlockArgument>(anchor->getRegion(0).getArgument(0));
    columns = available(value);
    demand(value, columns);
  }
  auto moe = dyn_cast<mk::MoeLinearOp>(anchor);
  int64_t copies = moe ? int64_t(moe.getChosen()) : 1;
  int64_t width = getWidth(anchor->getResult(0).getType()) / copies;
  ColumnSet result;
  for (int64_t copy = 0; copy < copies; ++copy)
    result = unite(result, clip(columns, 0, width, copy * width));
  write(0, result);
}

void KindAccesses::columns() {
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands())) {
    if (yielded.getDefiningOp<mk::RowwiseOp>()) {
      Value value = mk::getYielded(cast<OpResult>(yielded));
      ColumnSet columns = available(value);
      demand(value, columns);
      write(i, columns);
      continue;
    }
    int64_t width = getWidth(yielded.getType());
    ColumnSet columns = intersect(units, {{0, width}});
    if (isa<mk::CacheType>(yielded.getType())) // a unit stores keys and values of equal columns
      columns = unite(columns, clip(columns, 0, width / 2, width / 2));
    demand(yielded, columns);
    write(i, columns);
  }
}

void KindAccesses::attend(int64_t begin, int64_t end, int64_t units) {
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands())) {
    readWhole(yielded);
    for (Operation &op : body)
      op.walk([&](Operation *inner) { // a prologue reads what it likes of the kind's arguments
        for (Value operand : inner->getOperands())
          if (operand.getParentBlock() == &body)
            readWhole(operand);
      });
    // A unit's items depend on the step's token count: only shares of the row can be told apart.
    shares = true;
    int64_t width = getWidth(yielded.getType());
    write(i, normalize({{width * begin / units, width * end / units}}));
  }
}

void KindAccesses::serial() {
  for (Operation &op : body)
    for (Value operand : op.getOperands())
      readWhole(operand);
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands()))
    write(i, whole(yielded));
}

} // namespace mlir::mk_task
