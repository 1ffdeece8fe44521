// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The generic way: an operator that no pattern takes becomes a mk.generic. What keeps it right is
// one rule: the tokens are no number of its loop nest. An operand may show its rows in one
// dimension only, every operand in the same one, and that is none that is reduced or rearranged.
#ifndef MK_PASSES_IMPORT_GENERIC_H
#define MK_PASSES_IMPORT_GENERIC_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/import/Conversion.h"

namespace mlir::mk {

/// Float32 holds every integer up to here. Positions are below max_length, tokens below the
/// vocabulary, integers of the model are checked when it is imported: all within.
inline constexpr double kExactIntegers = 1 << 24;

/// Writes the region of a mk.generic.
struct Scalars {
  OpBuilder &b;
  Location loc;

  Value c(double number) { return b.create<arith::ConstantOp>(loc, b.getF32FloatAttr(number)); }
  Value i(int64_t number) { return b.create<arith::ConstantOp>(loc, b.getI32IntegerAttr(number)); }
  Value add(Value x, Value y) { return b.create<arith::AddFOp>(loc, x, y); }
  Value sub(Value x, Value y) { return b.create<arith::SubFOp>(loc, x, y); }
  Value mul(Value x, Value y) { return b.create<arith::MulFOp>(loc, x, y); }
  Value div(Value x, Value y) { return b.create<arith::DivFOp>(loc, x, y); }
  Value max(Value x, Value y) { return b.create<arith::MaximumFOp>(loc, x, y); }
  Value min(Value x, Value y) { return b.create<arith::MinimumFOp>(loc, x, y); }
  template <typename OpTy> Value make(Value x) { return b.create<OpTy>(loc, x); }
  Value exp(Value x) { return make<math::ExpOp>(x); }
  Value compare(arith::CmpFPredicate predicate, Value x, Value y) {
    return b.create<arith::CmpFOp>(loc, predicate, x, y);
  }
  Value select(Value condition, Value x, Value y) {
    return b.create<arith::SelectOp>(loc, condition, x, y);
  }
  Value both(Value x, Value y) { return b.create<arith::AndIOp>(loc, x, y); }
  Value either(Value x, Value y) { return b.create<arith::OrIOp>(loc, x, y); }
  Value isNan(Value x) { return compare(arith::CmpFPredicate::UNO, x, x); }
  /// A boolean as it is between ops, and back.
  Value fromTruth(Value x) { return select(x, c(1), c(0)); }
  Value toTruth(Value x) { return compare(arith::CmpFPredicate::UNE, x, c(0)); }
};

/// The arguments of a region: f32 each, of an operand that has booleans 0 or 1. `numbers` are those
/// of the loop nest as i32, null for the dimension of the rows.
using Region = function_ref<Value(Scalars &s, ArrayRef<Value> operands, ArrayRef<Value> numbers)>;

/// A tensor with an expression for each of its axes: where along it the point of the nest is.
struct Indexed {
  Meaning meaning;
  SmallVector<AffineExpr> index;
};

/// A loop nest with a number for each dimension of the result, then those that are reduced.
struct Nest {
  SmallVector<int64_t> shape;   // kDynamic: the rows
  SmallVector<int64_t> reduced; // sizes
  StringRef combiner;           // where there are any
};

/// Emits the mk.generic and returns what it makes: rows, of `kind` Rows, Flags or Whole, with the
/// axes of the shape. Nothing, with a note, where it would mix tokens.
std::optional<Meaning> emitGeneric(Conversion &conversion, Location location, const Nest &nest,
                                   ArrayRef<Indexed> operands, Region region,
                                   Kind kind = Kind::Rows);

/// What every tensor becomes that a generic reads: a piece of a pattern is computed after all,
/// a weight of any rank becomes a Table. Kinds Rows, Flags, Whole, Indices, Positions, Table or
/// Literal; nothing, with a note, for any other.
std::optional<Meaning> realize(Conversion &conversion, const Meaning &meaning, Location location);

/// The tensor as rows whose columns follow each other as its dimensions do.
std::optional<Meaning> copyPlain(Conversion &conversion, const Meaning &meaning, Location location);

/// Shapes that broadcast: the sizes that come of it (kDynamic: the rows), with each operand's
/// expressions; nothing, with a note, where rows meet other rows.
std::optional<SmallVector<int64_t>> broadcast(Conversion &conversion,
                                              MutableArrayRef<Indexed> operands);

/// The sizes of axes; kDynamic for the rows.
SmallVector<int64_t> getShape(ArrayRef<Axis> axes);

/// A number for each dimension of the shape.
SmallVector<AffineExpr> getDims(MLIRContext *context, int64_t count, int64_t first = 0);

/// One number of each point of tensors that broadcast; each operand is realized first.
std::optional<Meaning> mapPoints(Conversion &conversion, Location location,
                                 ArrayRef<Meaning> operands,
                                 function_ref<Value(Scalars &, ArrayRef<Value>)> region,
                                 Kind kind = Kind::Rows);

/// `combiner` over the dimensions `dims` of x, which stay as units.
std::optional<Meaning> reduceDims(Conversion &conversion, Location location, const Meaning &x,
                                  ArrayRef<int64_t> dims, StringRef combiner,
                                  Kind kind = Kind::Rows);
Meaning dropAxes(Meaning x, ArrayRef<int64_t> dims);

/// The softmax along a dimension.
std::optional<Meaning> softmaxAlong(Conversion &conversion, Location location, const Meaning &x,
                                    int64_t dim);

/// The `count` largest along a dimension in descending order, the first of equals first, what is no
/// number before all; or, `columns`, their places along it.
std::optional<Meaning> takeLargest(Conversion &conversion, Location location, const Meaning &x,
                                   int64_t dim, int64_t count, bool columns);

/// Whether a generic may read the meaning as it is.
bool isNumbers(Kind kind);
/// Rows, Flags, Whole: what a mk.generic makes.
bool isRowKind(Kind kind);
/// The kind of tensors of an element type, or none.
std::optional<Kind> kindOfElements(StringRef elementType);

void addGenericViewRules(Rules &rules);
void addGenericJoinRules(Rules &rules);
void addGenericElementwiseRules(Rules &rules);
void addGenericActivationRules(Rules &rules);
void addGenericReductionRules(Rules &rules);
void addGenericNormRules(Rules &rules);
void addGenericProductRules(Rules &rules);
void addGenericRankRules(Rules &rules);
void addGenericPlaceRules(Rules &rules);
void addGenericRoundingRules(Rules &rules);

} // namespace mlir::mk

#endif // MK_PASSES_IMPORT_GENERIC_H
