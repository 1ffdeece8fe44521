// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_IMPORT_MEANING_H
#define MK_PASSES_IMPORT_MEANING_H

#include "mlir/IR/BuiltinAttributes.h"
#include "passes/import/RowView.h"

namespace mlir::mk {

/// What a torch tensor means in terms of mk. A *piece* (second half of the kinds) has no mk op of
/// its own: it must meet the other pieces of its pattern. x is the piece's `view`.
enum class Kind {
  Refused, // its operator has no conversion: already reported

  Rows,      // `view`
  Indices,   // `view` of one of the step's inputs, plus `number`
  Vector,    // the parameter or buffer `weight` plus `number`; `view` has one column axis
  Matrix,    // the parameter or buffer `weight`, or its transpose
  Positions, // `view` of the input `positions`, as floating point

  Mean,       // mean over x's last axis of x
  Centered,   // x - Mean
  Square,     // x * x; of a `centered` piece c * c instead, c = x - Mean
  MeanSquare, // mean over x's last axis of Square, plus `number`
  InverseRms, // 1 / sqrt(MeanSquare)
  Normalized, // x * InverseRms, or c * InverseRms

  Silu, // x / (1 + exp(-x))

  Angles,        // positions times the vector `weight`, along the axes of `view`
  Cosine,        // `number` times the cosine of Angles
  Sine,          // `number` times the sine of Angles
  Negated,       // -x
  RotatedHalves, // concat(-second half of x, first half of x)
  RotatedPairs,  // of each two neighbouring columns of x minus the second and the first
  TimesCosine,   // x * Cosine
  TimesSine,     // RotatedHalves(x) * Sine, or RotatedPairs(x) * Sine
  PartRotated,   // TimesCosine + TimesSine, x only some columns of each head

  HalfTimesCosine, // x, half of a head, * Cosine
  HalfTimesSine,   // x, half of a head, * Sine
  TurnedFirst,     // HalfTimesCosine(x) - HalfTimesSine of the half behind it
  TurnedSecond,    // HalfTimesCosine(x) + HalfTimesSine of the half before it

  RowGate,       // 1 / (1 + exp(-x)), one column
  Experts,       // the parameter `weight`: a matrix for each expert
  Probabilities, // exp(x) over its sum along x's last axis
  TopLogits,     // the `chosen` largest of x's last axis
  TopExperts,    // their columns
  RouteWeights,  // the Probabilities of these, of all or `normalized`, times `number`
  RouteSum,      // their sum

  // What only the generic way makes or takes, see Generic.h.
  Flags,   // booleans: `view` of rows of 0 and 1
  Whole,   // integers: `view` of rows of whole numbers, none beyond `bound`
  Table,   // the parameter or buffer `weight` of any rank, laid out flat: `view` without a value
  Literal, // the few numbers `literal`: `view` of these, without a value
};

/// How the frequencies stand along the last axis of a table, and so which columns are partners.
enum class Pairs { None, Halves, Neighbours };

struct Meaning {
  Kind kind = Kind::Refused;
  RowView view;
  StringAttr weight;
  double number = 0;
  bool transposed = false; // Matrix
  bool centered = false;   // Square, MeanSquare, InverseRms, Normalized
  /// Angles, Cosine, Sine: the last axis holds the frequencies twice, one copy after the other or
  /// one number after the other. What is rotated: the same of its columns.
  Pairs pairs = Pairs::None;
  /// Of what begins with a choice of experts: how many, and whether their weights add up to one.
  int64_t chosen = 0;
  bool normalized = false;
  SmallVector<double> literal;
  double bound = 0; // Whole; Literal and Table of these
  Kind numbers =
      Kind::Rows; // Table and Literal: Rows, Flags or Whole, as what kind of rows they count

  /// The tensor's own axes; those of `view` except where the last axis was reduced.
  Axes getAxes() const {
    Axes axes = view.axes;
    if (kind == Kind::Mean || kind == Kind::MeanSquare || kind == Kind::InverseRms ||
        kind == Kind::RouteSum)
      axes.back() = Axis::unit();
    if (kind == Kind::TopLogits || kind == Kind::TopExperts || kind == Kind::RouteWeights)
      axes.back() = Axis::columns(chosen, 1);
    return axes;
  }
  bool operator==(const Meaning &other) const {
    return kind == other.kind && view == other.view && weight == other.weight &&
           number == other.number && transposed == other.transposed && centered == other.centered &&
           pairs == other.pairs && chosen == other.chosen && normalized == other.normalized &&
           literal == other.literal && bound == other.bound && numbers == other.numbers;
  }
};

/// The kind in words, for error messages.
StringRef describe(Kind kind);

} // namespace mlir::mk

#endif // MK_PASSES_IMPORT_MEANING_H
