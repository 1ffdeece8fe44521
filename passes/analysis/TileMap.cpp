// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "passes/analysis/TileMap.h"
#include "passes/analysis/Accumulators.h"
#include "passes/analysis/Diagnostics.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::mk {

using namespace mk_task;

//===----------------------------------------------------------------------===//
// TileMap
//===----------------------------------------------------------------------===//

int64_t TileMap::units() const {
  int64_t units = 0;
  for (SegmentAttr segment : segments)
    units += segment.units(lanes);
  return units;
}

SmallVector<int64_t> TileMap::sourceRows(int64_t unit) const {
  SmallVector<int64_t> rows(2 * lanes, -1);
  for (SegmentAttr segment : segments) {
    if (unit >= segment.units(lanes)) {
      unit -= segment.units(lanes);
      continue;
    }
    SegmentAttr::Groups groups = segment.groups(unit, lanes);
    for (int64_t i = 0; i < groups.validA; ++i)
      rows[i] = groups.a + i;
    for (int64_t i = 0; i < groups.validB; ++i)
      rows[lanes + i] = groups.b + i;
    break;
  }
  return rows;
}

LogicalResult TileMap::verify(function_ref<InFlightDiagnostic()> emitError) const {
  SmallVector<int64_t> unitOf(columns, -1);
  int64_t first = 0;
  for (SegmentAttr segment : segments) {
    for (int64_t unit = 0; unit < segment.units(lanes); ++unit) {
      SegmentAttr::Groups groups = segment.groups(unit, lanes);
      for (auto [begin, count] :
           {std::pair(groups.a, groups.validA), std::pair(groups.b, groups.validB)})
        for (int64_t column = begin; column < begin + count; ++column) {
          if (column >= columns || unitOf[column] != -1)
            return emitError() << "tile map: expected each of " << columns
                               << " columns in one unit, found column " << column << " in unit "
                               << first + unit << (column < columns ? " and another" : "");
          unitOf[column] = first + unit;
        }
    }
    first += segment.units(lanes);
  }
  for (int64_t column = 0; column < columns; ++column)
    if (unitOf[column] == -1)
      return emitError() << "tile map: expected column " << column << " of " << columns
                         << " in a unit";
  return success();
}

void TileMap::dump(raw_ostream &os) const {
  os << "tile map: " << columns << " columns in " << units() << " units of 2 x " << lanes << "\n";
  for (SegmentAttr segment : segments)
    os << "  columns [" << segment.getBase() << ", " << segment.getLimit()
       << "): " << segment.units(lanes) << " units, partners " << segment.getPartner()
       << " apart\n";
}

//===----------------------------------------------------------------------===//
// From the epilogue
//===----------------------------------------------------------------------===//

namespace {

/// A need of an op, as columns of the accumulators: two ranges of `half` columns, `partner` apart,
/// again every `stride` columns for `outer` times. `whole`: they are not cut into units.
struct Pairing {
  Operation *op;
  int64_t base, outer, stride, half, partner;
  bool whole = false;
  int64_t limit() const { return base + (outer - 1) * stride + partner + half; }
};

/// What the walk over an epilogue finds.
struct Needs {
  SmallVector<Pairing> pairings;
  SmallVector<int64_t> cuts; // where plain columns must begin a new unit
};

} // namespace

static Pairing getPlain(Operation *op, int64_t base, int64_t width, int64_t lanes) {
  return {op, base, int64_t(llvm::divideCeil(width, 2 * lanes)), 2 * lanes, lanes, lanes};
}

/// The halves of each head side by side, so that no group reaches into the next head.
static Pairing getHeads(Operation *op, int64_t base, int64_t width, int64_t headDim, bool whole) {
  return {op, base, width / headDim, headDim, headDim / 2, headDim / 2, whole};
}

template <typename HeadsOp> static Pairing getHeads(HeadsOp op, int64_t base, bool whole) {
  return getHeads(op, base, getColumns(op.getResult()), op.getHeadDim(), whole);
}

/// Of each head the columns that are rotated, and the others behind them.
static Pairing getRotated(RopeOp rope, int64_t base, bool whole) {
  Pairing heads = getHeads(rope, base, whole);
  heads.half = rope.getPairs();
  heads.partner = rope.getDistance();
  return heads;
}

/// The other columns of each head, behind those of each pair or behind all of them.
static Pairing getUnrotated(RopeOp rope, const Pairing &rotated) {
  Pairing rest = rotated;
  bool behindAll = rotated.partner == rotated.half;
  rest.base += behindAll ? 2 * rotated.half : rotated.half;
  rest.half = rotated.stride / 2 - rotated.half;
  rest.partner = behindAll ? rest.half : rotated.partner;
  return rest;
}

/// Two neighbouring bfloat16 of a row are one word, which no two groups may share: those of a
/// cache, and all on a GPU.
static LogicalResult checkWords(const Needs &needs, int64_t lanes, bool areStored) {
  for (const Pairing &p : needs.pairings)
    if (isa<RopeOp>(p.op) && p.half % 2 && 2 * p.half < p.stride && (areStored || lanes == 2))
      return emitModelError(p.op) << "rotates " << p.half
                                  << " pairs of columns of a head; expected an even number";
  return success();
}

/// Whether a rotation has cut the heads from column `base` on already.
static bool rotatesHeads(const Needs &needs, int64_t base, int64_t headDim) {
  return llvm::any_of(needs.pairings, [&](const Pairing &p) {
    return isa<RopeOp>(p.op) && p.base == base && p.stride == headDim;
  });
}

/// Follows the columns of the accumulators: `begins` maps a value to the accumulator column of its
/// column 0. For a value made of partners that is the column of the lower one.
static LogicalResult collectNeeds(Operation *anchor, Block &epilogue, int64_t lanes, Needs &needs) {
  DenseMap<Value, int64_t> begins;
  for (BlockArgument argument : epilogue.getArguments())
    begins[argument] = *getAccumulatorColumn(anchor, argument);
  bool whole = isa<RowwiseOp>(anchor); // there is no product to cut, and a norm needs all of a head
  for (Operation &op : epilogue) {
    SmallVector<std::pair<Value, int64_t>> inputs;
    for (Value operand : op.getOperands())
      if (auto begin = begins.find(operand); begin != begins.end())
        inputs.push_back({operand, begin->second});
    if (inputs.empty())
      continue;
    int64_t begin = inputs.front().second, width = getColumns(inputs.front().first);
    if (auto slice = dyn_cast<SliceOp>(op)) {
      begins[slice.getResult()] = begin + slice.getOffset();
      continue;
    }
    if (isa<YieldOp, KvAppendOp>(op)) {
      for (auto [value, at] : inputs)
        needs.cuts.append({at, at + getColumns(value)});
      // A head of the cache has a place of its own; heads of whole groups keep to it anyway.
      bool isRounded = false;
      if (auto append = dyn_cast<KvAppendOp>(op))
        isRounded = append.getCache().getType().getElementType().isBF16();
      if (failed(checkWords(needs, lanes, isRounded)))
        return failure();
      if (auto append = dyn_cast<KvAppendOp>(op))
        if (int64_t headDim = append.getCache().getType().getHeadDim();
            whole || headDim % lanes != 0)
          for (auto [value, at] : inputs)
            if (!rotatesHeads(needs, at, headDim))
              needs.pairings.push_back(getHeads(append, at, getColumns(value), headDim, whole));
      continue;
    }
    if (auto rope = dyn_cast<RopeOp>(op)) {
      needs.pairings.push_back(getRotated(rope, begin, whole));
    } else if (auto norm = dyn_cast<HeadNormOp>(op); norm && whole) {
      needs.pairings.push_back(getHeads(norm, begin, whole));
    } else if (auto partial = dyn_cast<ArgmaxPartialOp>(op)) {
      if (int64_t(partial.getBlock()) % (2 * lanes))
        return emitModelError(partial) << "expected a block of whole weight tiles of " << 2 * lanes
                                       << " rows, found " << int64_t(partial.getBlock());
      needs.pairings.push_back(getPlain(partial, begin, width, lanes));
      continue; // the result's columns are numbered by units, not by accumulators
    } else if (isElementwise(&op) && inputs.size() == 2 && inputs[0].second != inputs[1].second) {
      int64_t other = inputs[1].second;
      begin = std::min(begin, other);
      needs.pairings.push_back(
          {&op, begin, 1, 2 * width, width, std::max(inputs[0].second, other) - begin});
    } else if (!isElementwise(&op)) {
      return emitModelError(&op) << "cannot follow "
                                 << (whole ? "other row-wise work" : "mk.linear")
                                 << " in one task: it needs more columns than one "
                                 << (whole ? "head" : "weight tile") << " has";
    }
    begins[op.getResult(0)] = begin;
  }
  return success();
}

/// Pairings in order of their columns, plain ones in between.
static FailureOr<TileMap> arrange(KindOp kind, Needs &needs, int64_t columns, int64_t lanes) {
  auto &[pairings, cuts] = needs;
  llvm::stable_sort(pairings, [](const Pairing &a, const Pairing &b) { return a.base < b.base; });
  cuts.append({0, columns});
  llvm::sort(cuts);
  TileMap map{lanes, columns, {}};
  auto append = [&](const Pairing &p, int64_t limit) {
    map.segments.push_back(SegmentAttr::get(kind.getContext(), p.base, limit, p.outer, p.stride,
                                            p.half, p.partner, p.whole));
  };
  int64_t done = 0;
  const Pairing *previous = nullptr;
  auto appendPlain = [&](int64_t end) {
    for (int64_t cut : cuts) {
      int64_t limit = std::min(cut, end);
      if (limit <= done)
        continue;
      append(getPlain(nullptr, done, limit - done, lanes), limit);
      done = limit;
    }
  };
  for (const Pairing &p : pairings) {
    auto same = [](const Pairing &p) {
      return std::tie(p.base, p.outer, p.stride, p.half, p.partner);
    };
    if (previous && same(*previous) == same(p))
      continue;
    if (p.half > p.partner || p.base < done) {
      InFlightDiagnostic diagnostic = emitModelError(p.op)
                                      << "needs other partners in a weight tile for columns from "
                                      << p.base << " than another op";
      if (previous)
        diagnostic.attachNote(previous->op->getLoc()) << "the other op is here";
      return diagnostic;
    }
    appendPlain(p.base);
    bool plain = isa<ArgmaxPartialOp>(p.op);
    done = plain ? p.base + getColumns(p.op->getOperand(0)) : p.limit();
    append(p, done);
    if (auto rope = dyn_cast<RopeOp>(p.op); rope && 2 * p.half < p.stride) {
      Pairing rest = getUnrotated(rope, p);
      done = p.base + p.outer * p.stride;
      append(rest, done);
    }
    previous = &p;
  }
  appendPlain(columns);
  return map;
}

FailureOr<TileMap> computeTileMap(KindOp kind, int64_t lanes) {
  Needs needs;
  Operation *anchor = kind.getAnchor();
  int64_t columns;
  if (multiplies(anchor)) {
    columns = getPackedType(anchor).getShape().drop_back().back(); // of each expert, if there are
    if (YieldOp yield = getResultsYield(anchor);
        yield && failed(collectNeeds(anchor, *yield->getBlock(), lanes, needs)))
      return failure();
  } else if (auto rowwise = dyn_cast<RowwiseOp>(anchor)) {
    columns = rowwise.getColumns();
    if (failed(collectNeeds(rowwise, rowwise.getBody().front(), lanes, needs)))
      return failure();
  } else if (auto append = dyn_cast<KvAppendOp>(anchor)) {
    columns = getColumns(append.getKeys());
    if (int64_t headDim = append.getCache().getType().getHeadDim(); headDim % lanes != 0)
      needs.pairings.push_back(getHeads(append, 0, columns, headDim, /*whole=*/false));
  } else {
    if (!anchor->getNumResults() ||
        cast<RankedTensorType>(anchor->getResult(0).getType()).getRank() != 2)
      return emitModelError(anchor)
             << "expected rows of columns as its result, to cut them into units";
    columns = getColumns(anchor->getResult(0));
    if (auto rope = dyn_cast<RopeOp>(anchor))
      needs.pairings.push_back(getRotated(rope, 0, /*whole=*/false));
    if (auto norm = dyn_cast<HeadNormOp>(anchor))
      needs.pairings.push_back(getHeads(norm, 0, /*whole=*/true));
  }
  FailureOr<TileMap> map = arrange(kind, needs, columns, lanes);
  if (failed(map) || failed(map->verify([&] { return emitModelError(anchor); })))
    return failure();
  return map;
}

} // namespace mlir::mk
