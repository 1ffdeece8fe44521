// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_DIALECTS_MK_MK_H
#define MK_DIALECTS_MK_MK_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::mk {
/// Column c of the result needs column c of each operand, and nothing else.
template <typename ConcreteType>
class Elementwise : public OpTrait::TraitBase<ConcreteType, Elementwise> {};
} // namespace mlir::mk

#include "dialects/mk/MkDialect.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/mk/MkAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/mk/MkTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/mk/MkOps.h.inc"

namespace mlir::mk {

/// The module attributes that carry the target record and the sizes; null if absent.
inline constexpr llvm::StringLiteral kTargetAttr = "mk.target";
inline constexpr llvm::StringLiteral kOptionsAttr = "mk.options";
/// Of an argument of @step: the host hands it in, row by row, beside the request.
inline constexpr llvm::StringLiteral kInputAttr = "mk.input";
TargetAttr getTarget(Operation *op);
OptionsAttr getOptions(Operation *op);
/// The same; where they are absent, null and an error on the op.
TargetAttr requireTarget(Operation *op);
OptionsAttr requireOptions(Operation *op);

/// The column count of activation rows, the element count of a vector.
int64_t getColumns(Value value);
int64_t getColumns(Type type);

/// Whether an op multiplies rows by weights, and has an epilogue for the products.
bool multiplies(Operation *op);
/// The weights of such an op.
MutableOperandRange getMultiplied(Operation *op);
/// These as one weight: matrices one below the other, or the matrices of all experts.
RankedTensorType getPackedType(Operation *op);

/// Whether column c of the op's result needs column c of each operand, and nothing else.
inline bool isElementwise(Operation *op) { return op->hasTrait<Elementwise>(); }

/// The end of the region in which an op computes its results: the epilogue of a product, or the
/// body of a rowwise. Null for other ops, and if there is none.
YieldOp getResultsYield(Operation *op);
/// What that region yields for a result, or null.
Value getYielded(OpResult result);

/// Checks the form that all regions of rows share: an argument of each of these types, row-wise
/// ops, `mk.yield`. The latter, or null with an error on the op.
YieldOp verifyRegion(Operation *op, Region &region, StringRef name, TypeRange arguments);

/// The module path that the importer wrote into the op's location ("" if none).
std::string getModulePath(Operation *op);

} // namespace mlir::mk

#endif // MK_DIALECTS_MK_MK_H
