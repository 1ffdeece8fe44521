// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Tensors side by side: joins, stacks and padding choose the operand by the place along a
// dimension.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

static constexpr size_t kMostParts = 12; // of one op: an instruction has few operands

/// d - offset, within an operand of `size`: where it is without, another place of it.
static AffineExpr within(AffineExpr d, int64_t offset, int64_t size) {
  return (d + (llvm::alignTo(offset, size) - offset)) % size;
}

static Kind rowKind(const Meaning &x) {
  if (isRowKind(x.kind))
    return x.kind;
  return x.kind == Kind::Indices ? Kind::Whole : x.numbers;
}

static std::optional<Meaning> joinParts(Conversion &conversion, Location location,
                                        ArrayRef<Meaning> parts, int64_t dim) {
  if (parts.size() == 1)
    return parts.front();
  if (parts.size() > kMostParts) {
    SmallVector<Meaning, 4> joined;
    for (size_t i = 0; i < parts.size(); i += kMostParts) {
      ArrayRef<Meaning> some = parts.slice(i, std::min(kMostParts, parts.size() - i));
      std::optional<Meaning> one = joinParts(conversion, location, some, dim);
      if (!one)
        return std::nullopt;
      joined.push_back(*one);
    }
    return joinParts(conversion, location, joined, dim);
  }
  SmallVector<int64_t> shape = getShape(parts.front().view.axes), ends;
  int64_t total = 0;
  for (const Meaning &part : parts) {
    ArrayRef<Axis> axes = part.view.axes;
    if (axes.size() != shape.size())
      return std::nullopt;
    if (axes[dim].isRow()) {
      conversion.note("it mixes tokens");
      return std::nullopt;
    }
    ends.push_back(total += axes[dim].size);
  }
  shape[dim] = total;
  SmallVector<Indexed, 4> operands;
  for (auto [part, end] : llvm::zip_equal(parts, ends)) {
    SmallVector<AffineExpr> index = getDims(location.getContext(), shape.size());
    int64_t size = part.view.axes[dim].size;
    index[dim] = within(index[dim], end - size, size);
    operands.push_back({part, index});
  }
  std::optional<Meaning> result = emitGeneric(
      conversion, location, {shape, {}, ""}, operands,
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        Value result = v.back();
        for (int64_t i = int64_t(v.size()) - 2; i >= 0; --i)
          result = s.select(s.b.create<arith::CmpIOp>(s.loc, arith::CmpIPredicate::slt,
                                                      numbers[dim], s.i(ends[i])),
                            v[i], result);
        return result;
      },
      rowKind(parts.front()));
  for (const Meaning &part : parts)
    if (result)
      result->bound = std::max(result->bound, part.bound);
  return result;
}

static std::optional<SmallVector<Meaning, 4>> readParts(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Value>> list = readList(op->getOperand(0));
  if (!list)
    return std::nullopt;
  SmallVector<Meaning, 4> parts;
  for (Value part : *list) {
    std::optional<TorchTensorType> type = parseTorchTensor(part.getType());
    if (type && llvm::is_contained(type->shape, 0))
      continue;
    std::optional<Meaning> real = realize(conversion, conversion.get(part), op->getLoc());
    if (!real)
      return std::nullopt;
    // A literal is read by its place, which a join would have to say twice.
    if (real->kind == Kind::Literal && real->literal.size() > 1)
      real = copyPlain(conversion, *real, op->getLoc());
    if (!real)
      return std::nullopt;
    parts.push_back(*real);
  }
  return parts.empty() ? std::nullopt : std::optional(parts);
}

/// torch.aten.cat(parts, dim)
static std::optional<Meaning> join(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Meaning, 4>> parts = readParts(conversion, op);
  if (!parts)
    return std::nullopt;
  std::optional<int64_t> dim = readDimension(op->getOperand(1), parts->front().view.axes.size());
  return dim ? joinParts(conversion, op->getLoc(), *parts, *dim) : std::nullopt;
}

/// torch.aten.stack(parts, dim)
static std::optional<Meaning> stack(Conversion &conversion, Operation *op) {
  std::optional<SmallVector<Meaning, 4>> parts = readParts(conversion, op);
  if (!parts)
    return std::nullopt;
  std::optional<int64_t> dim =
      readDimension(op->getOperand(1), parts->front().view.axes.size() + 1);
  if (!dim)
    return std::nullopt;
  for (Meaning &part : *parts)
    part.view.axes.insert(part.view.axes.begin() + *dim, Axis::unit());
  return joinParts(conversion, op->getLoc(), *parts, *dim);
}

/// torch.aten.constant_pad_nd(x, pads, value); pads of the last dimension come first. A negative
/// one cuts.
static std::optional<Meaning> pad(Conversion &conversion, Operation *op) {
  std::optional<Meaning> x = realize(conversion, conversion.get(op->getOperand(0)), op->getLoc());
  std::optional<SmallVector<int64_t>> pads = readIntList(op->getOperand(1));
  unsigned last = op->getNumOperands() - 1;
  bool isZero = isNone(op->getOperand(last));
  std::optional<double> value = isZero ? 0.0 : readNumber(op->getOperand(last));
  bool isConstant = last == 2 || readString(op->getOperand(2)) == StringRef("constant");
  if (!x || !pads || !value || !isConstant || pads->size() % 2 ||
      pads->size() > 2 * x->view.axes.size() || x->kind == Kind::Literal)
    return std::nullopt;
  int64_t rank = x->view.axes.size();
  SmallVector<int64_t> shape = getShape(x->view.axes);
  SmallVector<AffineExpr> index = getDims(op->getContext(), rank);
  struct Side {
    int64_t dim, begin, end;
  };
  SmallVector<Side> sides;
  for (size_t i = 0; i < pads->size(); i += 2) {
    int64_t dim = rank - 1 - int64_t(i) / 2, before = (*pads)[i], after = (*pads)[i + 1];
    if (before == 0 && after == 0)
      continue;
    if (x->view.axes[dim].isRow()) {
      conversion.note("it mixes tokens");
      return std::nullopt;
    }
    int64_t size = x->view.axes[dim].size;
    shape[dim] = size + before + after;
    if (shape[dim] <= 0)
      return std::nullopt;
    index[dim] = before >= 0 ? within(index[dim], before, size) : (index[dim] - before) % size;
    sides.push_back({dim, before, before + size});
  }
  return emitGeneric(
      conversion, op->getLoc(), {shape, {}, ""}, Indexed{*x, index},
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) {
        Value result = v[0];
        for (const Side &side : sides) {
          using arith::CmpIPredicate;
          Value n = numbers[side.dim];
          Value low = s.b.create<arith::CmpIOp>(s.loc, CmpIPredicate::slt, n, s.i(side.begin));
          Value high = s.b.create<arith::CmpIOp>(s.loc, CmpIPredicate::sge, n, s.i(side.end));
          result = s.select(s.either(low, high), s.c(*value), result);
        }
        return result;
      },
      rowKind(*x));
}

void mk::addGenericJoinRules(Rules &rules) {
  rules.add("torch.aten.cat", 2, join);
  rules.add("torch.aten.stack", 2, stack);
  rules.add("torch.aten.constant_pad_nd", 3, pad);
  rules.add("torch.aten.pad", 4, pad);
}
