// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_IMPORT_CONVERSION_H
#define MK_PASSES_IMPORT_CONVERSION_H

#include "dialects/mk/Mk.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/import/Meaning.h"
#include "passes/import/TorchConstants.h"
#include "passes/import/TorchTypes.h"

namespace mlir::mk {

/// The rows of a weight in another order, as in #mk.view.
struct RowOrder {
  int64_t offset = 0;
  SmallVector<int64_t> sizes, strides;
};

/// The state of one run of `convert-torch-to-mk`: what is known about each torch tensor, and where
/// the mk ops go. Rules read operands' meanings from it and create ops through it.
class Conversion {
public:
  Conversion(OpBuilder &builder, Type weightType) : builder(builder), weightType(weightType) {}

  /// The meaning of a tensor operand; `Refused` for anything else.
  Meaning get(Value tensor) const { return meanings.lookup(tensor); }
  void set(Value tensor, Meaning meaning) { meanings[tensor] = std::move(meaning); }

  /// One of the step's inputs by name: tokens, positions, slots or rows.
  Value getInput(StringRef name) const { return inputs.lookup(name); }
  void setInput(StringRef name, Value input) { inputs[name] = input; }
  /// What a torch tensor of this shape is that the host hands in as `input`.
  Meaning makeInput(Value input, ArrayRef<int64_t> shape);
  /// Whether `value` is such an input of one integer for each row.
  bool isOwnIndices(Value value) const { return ownIndices.contains(value); }

  /// Declares a parameter or buffer; fails if the name has another shape already.
  LogicalResult declareWeight(StringAttr name, ArrayRef<int64_t> shape);
  ArrayRef<int64_t> getWeightShape(StringAttr name) const {
    return weightShapes.find(name)->second;
  }
  /// The one `mk.weight` of a Vector or Matrix; or of some of its rows, see #mk.view.
  Value getWeight(const Meaning &meaning, Location location, RowOrder rows = {});
  /// A parameter or buffer of any rank as one vector of float32, for what reads single elements.
  Value getFlatWeight(StringAttr name, Location location);
  /// The sizes of a Matrix as it is seen.
  std::pair<int64_t, int64_t> getMatrixShape(const Meaning &meaning) const;

  /// The rows that a tensor shows, as a value with exactly the columns seen. Emits the op of a
  /// piece that stands alone, see isRowsLike. Null, with a note, if the tensor is no rows or its
  /// columns are not neighbours.
  Value getRows(const Meaning &meaning, Location location);
  /// The same, but the tensor must also be laid out row by row: what `torch.aten.linear`
  /// multiplies.
  Value getPlainRows(const Meaning &meaning, Location location);

  /// The same rows with the columns seen as neighbours, in the order of the axes: if they are not
  /// and a product makes them, by a product with the rows of its weight in that order. `evenFirst`:
  /// of the last axis the columns of even number come first.
  std::optional<Meaning> gather(const Meaning &meaning, bool evenFirst, Location location);

  /// A meaning of kind Rows: all of `value`, seen along `axes`.
  Meaning makeRows(Value value, Axes axes, Value domain) const;

  template <typename OpTy, typename... Args> Value create(Location location, Args &&...args) {
    return builder.create<OpTy>(location, std::forward<Args>(args)...)->getResult(0);
  }
  /// tensor<?xDxf32>
  RankedTensorType getRowsType(int64_t columns) const {
    return RankedTensorType::get({ShapedType::kDynamic, columns}, builder.getF32Type());
  }
  OpBuilder &getBuilder() { return builder; }
  Type getWeightType() const { return weightType; }
  IntegerAttr getI64(int64_t number) const { return builder.getI64IntegerAttr(number); }
  FloatAttr getF64(double number) const { return builder.getF64FloatAttr(number); }

  /// Claims the cache of `layer`; false if another attention has it.
  bool claimLayer(int64_t layer) { return layers.insert(layer).second; }

  /// Why a rule that looked applicable did not apply. The first note is shown if no rule applies.
  void note(const Twine &reason) {
    if (firstNote.empty())
      firstNote = reason.str();
  }
  std::string takeNote() { return std::exchange(firstNote, {}); }

private:
  OpBuilder &builder;
  Type weightType;
  DenseMap<Value, Meaning> meanings;
  llvm::StringMap<Value> inputs;
  DenseSet<Value> ownIndices;
  DenseMap<StringAttr, SmallVector<int64_t>> weightShapes;
  DenseMap<std::pair<StringAttr, Attribute>, Value> weights; // by name and view
  DenseSet<int64_t> layers;
  std::string firstNote;
};

/// Whether the tensor is rows, or a piece that an op makes rows of: `silu(x)`, `x * x`, `-x`, or a
/// norm of whole rows without a gain.
bool isRowsLike(const Meaning &meaning);

/// A rule looks at one torch operator and returns what its result means, or nothing if it does not
/// apply.
using Rule = std::optional<Meaning> (*)(Conversion &conversion, Operation *op);

/// The rules of each operator by name, tried in order. A custom operator counts under its own name.
class Rules {
public:
  /// The rule is only asked about operators with at least `operands` operands.
  void add(StringRef name, unsigned operands, Rule rule) {
    rules[name].push_back({operands, rule});
  }
  std::optional<Meaning> apply(StringRef name, Conversion &conversion, Operation *op) const;

private:
  struct Entry {
    unsigned operands;
    Rule rule;
  };
  llvm::StringMap<SmallVector<Entry>> rules;
};

/// An operator that torch-mlir does not know keeps its name in an attribute.
StringRef getTorchName(Operation *op);

/// Emits "'torch.aten.erf' at layers.0.mlp: no conversion to mk: reason (operand 0 is [1,?,64] f32,
/// a silu)".
void reportRefusal(const Conversion &conversion, Operation *op, StringRef reason);

/// The products of torch.mk.experts, with a route that the caller makes.
std::optional<Meaning> emitExperts(Conversion &conversion, Operation *op, int64_t chosen,
                                   function_ref<Value(int64_t experts)> makeRoute);

void addViewRules(Rules &rules);
void addPartRules(Rules &rules);
void addCastRules(Rules &rules);
void addNormRules(Rules &rules);
void addRopeTableRules(Rules &rules);
void addRopeRules(Rules &rules);
void addRouteRules(Rules &rules);
void addExpertsRules(Rules &rules);
void addHalfRotationRules(Rules &rules);
void addElementwiseRules(Rules &rules);
void addLookupRules(Rules &rules);
void addLinearRules(Rules &rules);
void addLayerNormRules(Rules &rules);
void addAttentionRules(Rules &rules);
void addControlRules(Rules &rules);
/// The generic way, for operators that no rule above takes.
void addGenericRules(Rules &rules);

} // namespace mlir::mk

#endif // MK_PASSES_IMPORT_CONVERSION_H
