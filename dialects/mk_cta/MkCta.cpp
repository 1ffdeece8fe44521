// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mk_cta/MkCta.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::mk_cta;

#include "dialects/mk_cta/MkCtaDialect.cpp.inc"
#include "dialects/mk_cta/MkCtaEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/mk_cta/MkCtaTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/mk_cta/MkCtaOps.cpp.inc"

void MkCtaDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/mk_cta/MkCtaTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/mk_cta/MkCtaOps.cpp.inc"
      >();
}

int64_t mk_cta::instructionField(StringRef name) {
  return llvm::StringSwitch<int64_t>(name)
#define MK_INSTRUCTION(name, index, doc) .Case(#name, index)
#include "runtime/abi/Abi.def"
      .Default(-1);
}

int64_t mk_cta::contextField(StringRef name) {
  return llvm::StringSwitch<int64_t>(name)
#define MK_CONTEXT(name, index, doc) .Case(#name, index)
#include "runtime/abi/Abi.def"
      .Default(-1);
}

int64_t mk_cta::elementsPerWord(Type elementType) {
  return 32 / elementType.getIntOrFloatBitWidth();
}

static LogicalResult verifyContextField(Operation *op, StringRef name) {
  if (contextField(name) < 0)
    return op->emitOpError() << "expects the name of a context field, got \"" << name << "\"";
  return success();
}

LogicalResult ContextWordOp::verify() { return verifyContextField(*this, getName()); }

LogicalResult FieldOp::verify() {
  if (instructionField(getName()) < 0)
    return emitOpError() << "expects the name of an instruction field, got \"" << getName() << "\"";
  if (int64_t(getIndex()) < 0 || instructionField(getName()) + int64_t(getIndex()) >= 32)
    return emitOpError() << "expects a word of the 32 of an instruction, got \"" << getName()
                         << "\" [" << getIndex() << "]";
  return success();
}

LogicalResult ViewOp::verify() {
  if (failed(verifyContextField(*this, getArena())))
    return failure();
  auto type = cast<MemRefType>(getResult().getType());
  SmallVector<int64_t> strides;
  int64_t offset;
  if (failed(getStridesAndOffset(type, strides, offset)) || offset != 0 ||
      llvm::any_of(strides, ShapedType::isDynamic))
    return emitOpError() << "expects a memref with static strides and no offset, got " << type;
  for (int64_t size : type.getShape().drop_front(type.getRank() ? 1 : 0))
    if (ShapedType::isDynamic(size))
      return emitOpError() << "expects static sizes after the first, got " << type;
  return success();
}

LogicalResult DotOp::verify() {
  Type element = getWeights().getType().getElementType();
  int64_t word = elementsPerWord(element), lanes = getAcc().getType().getDimSize(0);
  if (getRow().getType().getElementType() != element)
    return emitOpError() << "expects weights and row of one element type, got "
                         << getWeights().getType() << " and " << getRow().getType();
  if (getWeights().getType().getDimSize(0) != lanes * word ||
      getRow().getType().getDimSize(0) != word)
    return emitOpError() << "expects " << lanes * word << " weights and " << word
                         << " row elements for " << lanes << " lanes, got "
                         << getWeights().getType() << " and " << getRow().getType();
  return success();
}

LogicalResult MatmulOp::verify() {
  auto tile = cast<MemRefType>(getTile().getType()), rows = cast<MemRefType>(getRows().getType()),
       acc = cast<MemRefType>(getAcc().getType());
  int64_t word = elementsPerWord(tile.getElementType());
  if (rows.getElementType() != tile.getElementType())
    return emitOpError() << "expects tile and rows of one element type, got " << tile << " and "
                         << rows;
  if (!tile.hasStaticShape() || !acc.hasStaticShape())
    return emitOpError() << "expects a tile and accumulators of static shape, got " << tile
                         << " and " << acc;
  if (rows.getDimSize(1) != tile.getDimSize(0) * word)
    return emitOpError() << "expects rows of " << tile.getDimSize(0) * word << " elements, got "
                         << rows;
  if (acc.getDimSize(1) != tile.getDimSize(1) || acc.getDimSize(2) * word != tile.getDimSize(2) ||
      int64_t(getCount()) > acc.getDimSize(0) || int64_t(getCount()) < 1)
    return emitOpError() << "expects accumulators for " << getCount()
                         << " rows of the tile's groups and lanes, got " << acc;
  return success();
}

LogicalResult LoadFlaggedOp::verify() {
  Type element = cast<MemRefType>(getMemory().getType()).getElementType();
  if (element != getResult().getType())
    return emitOpError() << "expects to give an element of the memref, " << element << ", got "
                         << getResult().getType();
  return success();
}

LogicalResult RingFillOp::verify() { return verifyContextField(*this, getArena()); }

LogicalResult RingCopyOp::verify() { return verifyContextField(*this, getArena()); }

LogicalResult SharedOp::verify() {
  auto type = cast<MemRefType>(getResult().getType());
  auto space = dyn_cast_or_null<IntegerAttr>(type.getMemorySpace());
  if (!type.hasStaticShape() || !type.getLayout().isIdentity() || !space || space.getInt() != 3)
    return emitOpError() << "expects a memref of static shape in memory space 3, got " << type;
  return success();
}
