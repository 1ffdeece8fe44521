// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// A piece of a pattern that did not become one is computed after all: by what it says it is.

#include "passes/import/Generic.h"

using namespace mlir;
using namespace mlir::mk;

namespace {
struct Realizer {
  Conversion &conversion;
  Location location;
  using Maybe = std::optional<Meaning>;

  Maybe rowsOf(const Meaning &piece) {
    Meaning rows = conversion.makeRows(piece.view.value, piece.view.axes, piece.view.domain);
    rows.view = piece.view;
    return rows;
  }
  int64_t lastDim(const Meaning &piece) { return int64_t(piece.view.axes.size()) - 1; }
  Maybe map(ArrayRef<Maybe> operands, function_ref<Value(Scalars &, ArrayRef<Value>)> region,
            Kind kind = Kind::Rows) {
    SmallVector<Meaning, 4> all;
    for (const Maybe &operand : operands) {
      if (!operand)
        return std::nullopt;
      all.push_back(*operand);
    }
    return mapPoints(conversion, location, all, region, kind);
  }
  /// The mean over the last dimension.
  Maybe mean(const Maybe &x) {
    if (!x)
      return std::nullopt;
    double count = x->view.axes.back().size;
    return map({reduceDims(conversion, location, *x, lastDim(*x), "sum")},
               [&](Scalars &s, ArrayRef<Value> v) { return s.div(v[0], s.c(count)); });
  }
  Maybe centered(const Meaning &piece) {
    Maybe x = rowsOf(piece);
    return map({x, mean(x)}, [](Scalars &s, ArrayRef<Value> v) { return s.sub(v[0], v[1]); });
  }
  Maybe square(const Meaning &piece) {
    Maybe x = piece.centered ? centered(piece) : rowsOf(piece);
    return map({x}, [](Scalars &s, ArrayRef<Value> v) { return s.mul(v[0], v[0]); });
  }
  Maybe meanSquare(const Meaning &piece) {
    Maybe result = mean(square(piece));
    if (piece.number == 0)
      return result;
    return map({result},
               [&](Scalars &s, ArrayRef<Value> v) { return s.add(v[0], s.c(piece.number)); });
  }
  Maybe inverseRms(const Meaning &piece) {
    return map({meanSquare(piece)}, [](Scalars &s, ArrayRef<Value> v) {
      return s.b.create<math::RsqrtOp>(s.loc, v[0]);
    });
  }
  Maybe rotated(const Meaning &piece, bool pairs);
  Maybe table(const Meaning &piece, Kind kind);
  Maybe vector(const Meaning &meaning);
  Maybe times(const Meaning &piece, Kind rows, Kind factors);
  Maybe probabilities(const Meaning &piece) {
    Maybe x = rowsOf(piece);
    return x ? softmaxAlong(conversion, location, *x, lastDim(*x)) : std::nullopt;
  }
  Maybe ranked(const Meaning &piece);
  Maybe realize(const Meaning &meaning);
};
} // namespace

/// The halves of the last dimension, or each two neighbours of it, swapped, the new first negated.
/// Neighbours stand along the last two dimensions or, joined, along the last.
std::optional<Meaning> Realizer::rotated(const Meaning &piece, bool pairs) {
  Maybe x = rowsOf(piece);
  MLIRContext *context = conversion.getBuilder().getContext();
  const Axis &columns = piece.view.axes.back();
  int64_t last = lastDim(piece), size = columns.size;
  if (size % 2 || columns.stride != 1)
    return std::nullopt;
  int64_t half = size / 2;
  SmallVector<AffineExpr> index = getDims(context, last + 1);
  AffineExpr d = index.back();
  index.back() = pairs ? d.floorDiv(2) * 2 + (d + 1) % 2 : (d + half) % size;
  return emitGeneric(
      conversion, location, {getShape(x->view.axes), {}, ""}, Indexed{*x, index},
      [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value> numbers) -> Value {
        Value n = numbers.back(), isFirst;
        if (pairs) {
          Value odd = s.b.create<arith::AndIOp>(s.loc, n, s.i(1));
          isFirst = s.b.create<arith::CmpIOp>(s.loc, arith::CmpIPredicate::eq, odd, s.i(0));
        } else {
          isFirst = s.b.create<arith::CmpIOp>(s.loc, arith::CmpIPredicate::slt, n, s.i(half));
        }
        return s.select(isFirst, s.make<arith::NegFOp>(v[0]), v[0]);
      });
}

/// Angles, or their cosines or sines: each position times the frequency of its column.
std::optional<Meaning> Realizer::table(const Meaning &piece, Kind kind) {
  MLIRContext *context = conversion.getBuilder().getContext();
  int64_t count = conversion.getWeightShape(piece.weight)[0];
  SmallVector<int64_t> shape = getShape(piece.view.axes);
  SmallVector<AffineExpr> dims = getDims(context, shape.size()), row;
  // The column of the table, of which a frequency has two neighbours, or one in each half.
  AffineExpr column = getAffineConstantExpr(piece.view.offset, context);
  Meaning positions, frequencies;
  positions.kind = Kind::Positions;
  positions.view = RowView{conversion.getInput("positions"), 0, piece.view.axes, Value()};
  for (auto [axis, positionAxis, dim] :
       llvm::zip_equal(piece.view.axes, positions.view.axes, dims)) {
    row.push_back(axis.isRow() ? dim : getAffineConstantExpr(0, context));
    if (axis.isColumn()) {
      positionAxis = Axis::unit();
      column = column + dim * axis.stride;
    }
  }
  if (piece.pairs == Pairs::Halves)
    column = column % count;
  if (piece.pairs == Pairs::Neighbours)
    column = column.floorDiv(2);
  frequencies.kind = Kind::Table;
  frequencies.weight = piece.weight;
  frequencies.view.axes = {Axis{Axis::Kind::Column, count, 1}};
  return emitGeneric(conversion, location, {shape, {}, ""},
                     {Indexed{positions, row}, Indexed{frequencies, {column}}},
                     [&](Scalars &s, ArrayRef<Value> v, ArrayRef<Value>) -> Value {
                       Value angle = s.mul(v[0], v[1]);
                       if (kind == Kind::Angles)
                         return angle;
                       Value result = kind == Kind::Cosine ? s.make<math::CosOp>(angle)
                                                           : s.make<math::SinOp>(angle);
                       return piece.number == 1 ? result : s.mul(result, s.c(piece.number));
                     });
}

/// A vector, matrix or one for each expert, in terms of single elements.
std::optional<Meaning> Realizer::vector(const Meaning &meaning) {
  Meaning table;
  table.kind = Kind::Table;
  table.weight = meaning.weight;
  table.view.axes = meaning.view.axes;
  if (meaning.kind != Kind::Vector) {
    int64_t stride = 1;
    for (int64_t size : llvm::reverse(conversion.getWeightShape(meaning.weight))) {
      table.view.axes.insert(table.view.axes.begin(), Axis::columns(size, stride));
      stride *= size;
    }
    if (meaning.transposed)
      std::swap(table.view.axes[0], table.view.axes[1]);
  }
  if (meaning.number == 0 || meaning.kind != Kind::Vector)
    return table;
  return map({table},
             [&](Scalars &s, ArrayRef<Value> v) { return s.add(v[0], s.c(meaning.number)); });
}

/// Rows, rotated or not, times the cosines or sines of a table of their last dimension.
std::optional<Meaning> Realizer::times(const Meaning &piece, Kind rows, Kind factors) {
  Meaning x = piece, table = piece;
  x.kind = rows;
  table.kind = factors;
  for (Axis &axis : table.view.axes) // the factors do not depend on the head
    if (axis.isColumn() && &axis != &table.view.axes.back())
      axis = Axis::unit();
  table.view.offset = 0;
  table.view.evenFirst = false;
  return map({realize(x), this->table(table, factors)},
             [](Scalars &s, ArrayRef<Value> v) { return s.mul(v[0], v[1]); });
}

/// The largest of the last dimension in descending order, or their columns.
std::optional<Meaning> Realizer::ranked(const Meaning &piece) {
  Maybe x = rowsOf(piece);
  if (piece.kind == Kind::RouteWeights && !piece.normalized)
    x = probabilities(piece);
  bool columns = piece.kind == Kind::TopExperts;
  Maybe result = x ? takeLargest(conversion, location, *x, lastDim(piece), piece.chosen, columns)
                   : std::nullopt;
  if (piece.kind == Kind::RouteWeights && piece.normalized && result)
    result = softmaxAlong(conversion, location, *result, lastDim(piece));
  if (piece.kind == Kind::RouteWeights && piece.number != 1)
    result = map({result},
                 [&](Scalars &s, ArrayRef<Value> v) { return s.mul(v[0], s.c(piece.number)); });
  return result;
}

std::optional<Meaning> Realizer::realize(const Meaning &meaning) {
  switch (meaning.kind) {
  case Kind::Rows:
  case Kind::Flags:
  case Kind::Whole:
  case Kind::Positions:
  case Kind::Table:
  case Kind::Literal:
    return meaning;
  case Kind::Indices: {
    Meaning bounded = meaning;
    bounded.bound = kExactIntegers - 1 + std::abs(meaning.number);
    return bounded;
  }
  case Kind::Vector:
  case Kind::Matrix:
  case Kind::Experts:
    return vector(meaning);
  case Kind::Mean:
    return mean(rowsOf(meaning));
  case Kind::Centered:
    return centered(meaning);
  case Kind::Square:
    return square(meaning);
  case Kind::MeanSquare:
    return meanSquare(meaning);
  case Kind::InverseRms:
    return inverseRms(meaning);
  case Kind::Normalized:
    return map({meaning.centered ? centered(meaning) : rowsOf(meaning), inverseRms(meaning)},
               [](Scalars &s, ArrayRef<Value> v) { return s.mul(v[0], v[1]); });
  case Kind::Silu:
    return map({rowsOf(meaning)}, [](Scalars &s, ArrayRef<Value> v) {
      return s.div(v[0], s.add(s.c(1), s.exp(s.make<arith::NegFOp>(v[0]))));
    });
  case Kind::RowGate:
    return map({rowsOf(meaning)}, [](Scalars &s, ArrayRef<Value> v) {
      return s.div(s.c(1), s.add(s.c(1), s.exp(s.make<arith::NegFOp>(v[0]))));
    });
  case Kind::Negated:
    return map({rowsOf(meaning)},
               [](Scalars &s, ArrayRef<Value> v) { return s.make<arith::NegFOp>(v[0]); });
  case Kind::RotatedHalves:
    return rotated(meaning, /*pairs=*/false);
  case Kind::RotatedPairs:
    return rotated(meaning, /*pairs=*/true);
  case Kind::Angles:
  case Kind::Cosine:
  case Kind::Sine:
    return table(meaning, meaning.kind);
  case Kind::TimesCosine:
    return times(meaning, Kind::Rows, Kind::Cosine);
  case Kind::TimesSine:
    return times(meaning,
                 meaning.pairs == Pairs::Neighbours ? Kind::RotatedPairs : Kind::RotatedHalves,
                 Kind::Sine);
  case Kind::PartRotated: {
    Meaning cosine = meaning, sine = meaning;
    cosine.kind = Kind::TimesCosine;
    sine.kind = Kind::TimesSine;
    return map({realize(cosine), realize(sine)},
               [](Scalars &s, ArrayRef<Value> v) { return s.add(v[0], v[1]); });
  }
  case Kind::HalfTimesCosine:
    return times(meaning, Kind::Rows, Kind::Cosine);
  case Kind::HalfTimesSine:
    return times(meaning, Kind::Rows, Kind::Sine);
  case Kind::TurnedFirst:
  case Kind::TurnedSecond: {
    bool isFirst = meaning.kind == Kind::TurnedFirst;
    Meaning cosine = meaning, sine = meaning;
    cosine.kind = Kind::HalfTimesCosine;
    sine.kind = Kind::HalfTimesSine;
    sine.view.offset += (isFirst ? 1 : -1) * meaning.view.axes.back().size;
    return map({realize(cosine), realize(sine)}, [&](Scalars &s, ArrayRef<Value> v) {
      return isFirst ? s.sub(v[0], v[1]) : s.add(v[0], v[1]);
    });
  }
  case Kind::Probabilities:
    return probabilities(meaning);
  case Kind::TopLogits:
  case Kind::TopExperts:
  case Kind::RouteWeights:
    return ranked(meaning);
  case Kind::RouteSum: {
    Meaning weights = meaning;
    weights.kind = Kind::RouteWeights;
    Maybe x = ranked(weights);
    return x ? reduceDims(conversion, location, *x, lastDim(*x), "sum") : std::nullopt;
  }
  default:
    conversion.note("what it reads is " + describe(meaning.kind).str() +
                    ", which has no numbers of its own");
    return std::nullopt;
  }
}

std::optional<Meaning> mk::realize(Conversion &conversion, const Meaning &meaning,
                                   Location location) {
  return Realizer{conversion, location}.realize(meaning);
}
