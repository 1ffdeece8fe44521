// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The custom operators that the importer makes of torch.cond and of what its predicate asks of all
// rows: torch.mk.across_rows(x, how, most) of one number for each of `most` rows at most -> one
// number; torch.mk.choose(predicate, taken, other) -> one of both.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

/// Rows of exactly the tensor's columns in their order, and what they count as; the value is that
/// of the meaning.
static std::optional<Meaning> makePlain(Conversion &conversion, const Meaning &meaning,
                                        Location location) {
  if (isRowsLike(meaning) && isRowMajor(meaning.view.axes))
    if (Value rows = conversion.getPlainRows(meaning, location))
      return conversion.makeRows(rows, meaning.view.axes, meaning.view.domain);
  conversion.takeNote();
  std::optional<Meaning> real = realize(conversion, meaning, location);
  if (!real)
    return std::nullopt;
  const RowView &view = real->view;
  bool isPlain = isRowKind(real->kind) && view.offset == 0 && !view.evenFirst &&
                 isRowMajor(view.axes) &&
                 countNeighbouringColumns(view.axes) == getColumns(view.value);
  return isPlain ? real : copyPlain(conversion, *real, location);
}

static bool hasRows(const Meaning &meaning) {
  return llvm::any_of(meaning.view.axes, [](const Axis &axis) { return axis.isRow(); });
}

static std::optional<Meaning> acrossRows(Conversion &conversion, Operation *op) {
  std::optional<StringRef> how = readString(op->getOperand(1));
  std::optional<int64_t> most = readInt(op->getOperand(2));
  std::optional<Meaning> x = makePlain(conversion, conversion.get(op->getOperand(0)), op->getLoc());
  if (!how || !most || !x)
    return std::nullopt;
  if (!hasRows(*x) || getColumns(x->view.value) != 1) {
    conversion.note("one number of each row is needed");
    return std::nullopt;
  }
  double bound = x->kind == Kind::Flags ? 1 : x->bound;
  bool isExact = *how == "max" || *how == "min";
  if (*how == "sum" && x->kind != Kind::Rows) { // no partial sum is beyond what float32 holds
    bound *= double(*most);
    isExact = bound <= kExactIntegers;
  }
  if (x->kind != Kind::Rows && !isExact) {
    conversion.note("arithmetic of integers that float32 may not hold exactly");
    return std::nullopt;
  }
  Value value =
      conversion.create<AcrossRowsOp>(op->getLoc(), x->view.value.getType(), x->view.value,
                                      conversion.getBuilder().getStringAttr(*how));
  Meaning result = *x;
  result.view = RowView{value, 0, {}, Value()};
  result.bound = bound;
  if (*how == "sum" && x->kind == Kind::Flags)
    result.kind = Kind::Whole;
  return result;
}

static std::optional<Meaning> choose(Conversion &conversion, Operation *op) {
  Location location = op->getLoc();
  std::optional<Meaning> predicate =
      makePlain(conversion, conversion.get(op->getOperand(0)), location);
  if (!predicate)
    return std::nullopt;
  if (predicate->kind != Kind::Flags || hasRows(*predicate) ||
      getColumns(predicate->view.value) != 1) {
    conversion.note("the predicate must be one boolean of the whole call");
    return std::nullopt;
  }
  SmallVector<Meaning> sides;
  for (int side : {1, 2}) {
    std::optional<Meaning> plain =
        makePlain(conversion, conversion.get(op->getOperand(side)), location);
    if (!plain)
      return std::nullopt;
    sides.push_back(*plain);
  }
  // A side that is the same in all rows is given those of the other.
  for (auto [side, other] : {std::pair(0, 1), std::pair(1, 0)})
    if (!hasRows(sides[side]) && hasRows(sides[other])) {
      Kind kind = sides[side].kind;
      std::optional<Meaning> spread = mapPoints(
          conversion, location, {sides[side], sides[other]},
          [](Scalars &, ArrayRef<Value> v) { return v[0]; }, kind);
      if (!spread)
        return std::nullopt;
      spread->bound = sides[side].bound;
      sides[side] = *spread;
    }
  if (sides[0].kind != sides[1].kind || sides[0].view.axes != sides[1].view.axes ||
      sides[0].view.value.getType() != sides[1].view.value.getType()) {
    conversion.note("both sides must be rows of the same columns");
    return std::nullopt;
  }
  Meaning result = sides[0];
  result.bound = std::max(sides[0].bound, sides[1].bound);
  result.view.value =
      conversion.create<ChooseOp>(location, sides[0].view.value.getType(), predicate->view.value,
                                  sides[0].view.value, sides[1].view.value);
  return result;
}

void mk::addControlRules(Rules &rules) {
  rules.add("torch.mk.across_rows", 3, acrossRows);
  rules.add("torch.mk.choose", 3, choose);
}
