// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The mk_task dialect: registration and the layout rules of MkTask.h. The verifiers of the ops are
// in MkTaskOps.cpp.

#include "dialects/mk_task/MkTask.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::mk_task;

#include "dialects/mk_task/MkTaskDialect.cpp.inc"
#include "dialects/mk_task/MkTaskEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/mk_task/MkTaskAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/mk_task/MkTaskOps.cpp.inc"

void MkTaskDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/mk_task/MkTaskAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/mk_task/MkTaskOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Layout rules that the compiler, the packer and the generated code share
//===----------------------------------------------------------------------===//

SmallVector<RequestArray> mk_task::requestArrays(mk::OptionsAttr options, int64_t *total) {
  // No request draws more tokens than its slot has positions, so the mailbox cannot overflow.
  auto countOf = [&](StringRef count) -> int64_t {
    return llvm::StringSwitch<int64_t>(count)
        .Case("one", 1)
        .Case("tokens", options.getMaxTokens())
        .Case("rows", options.getMaxRows())
        .Case("slots", options.getMaxSequences())
        .Case("page_table", options.getMaxSequences() * options.getPagesPerSlot())
        .Case("stops", kMaxStops)
        .Case("mailbox", 2 * options.getMaxSequences() * options.getMaxLength());
  };
  SmallVector<RequestArray> arrays;
  int64_t offset = 0;
  auto append = [&](StringRef name, StringRef type, StringRef count) {
    arrays.push_back({name, type, countOf(count), offset});
    offset += llvm::alignTo(arrays.back().count * (type == "i64" ? 8 : 4), kAlignment);
  };
#define MK_REQUEST(name, type, count, doc) append(#name, #type, #count);
#include "runtime/abi/Abi.def"
  if (total)
    *total = offset;
  return arrays;
}

Type RequestArray::getElementType(MLIRContext *context) const {
  if (type == "f32")
    return Float32Type::get(context);
  return IntegerType::get(context, type == "i64" ? 64 : 32);
}

RequestArray mk_task::findRequestArray(mk::OptionsAttr options, StringRef name) {
  for (RequestArray &array : requestArrays(options))
    if (array.name == name)
      return array;
  llvm_unreachable("not an array of Abi.def");
}

FragmentTile::FragmentTile(int64_t columns) : columns(columns) {
  int64_t blocks = llvm::divideCeil(columns, kBlockColumns);
  chunks = llvm::divideCeil(blocks, kChunkBlocks);
  chunkBlocks = llvm::divideCeil(blocks, chunks);
  group =
      chunks > 1 ? 1 : llvm::bit_floor(uint64_t(std::min<int64_t>(4, kChunkBlocks / chunkBlocks)));
}

int64_t mk_task::getFragmentPosition(int64_t column) {
  int64_t pair = column % 32 / 2;
  return column / 32 * 32 + pair % 4 * 8 + pair / 4 * 2 + column % 2;
}

int64_t mk_task::getStreamUnit(int64_t lanes) {
  return lanes == 2 ? FragmentTile::kBlockBytes : kAlignment;
}

int64_t mk_task::getTileBytes(Type weight, int64_t lanes) {
  auto type = cast<RankedTensorType>(weight);
  if (lanes == 2) // a GPU's
    return FragmentTile(mk::getColumns(type)).bytes();
  int64_t elementBytes = type.getElementTypeBitWidth() / 8;
  int64_t rowBytes = llvm::alignTo(mk::getColumns(type) * elementBytes, 4);
  return llvm::alignTo(2 * lanes * rowBytes, kAlignment);
}

LogicalResult SegmentAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t base,
                                  int64_t limit, int64_t outer, int64_t stride, int64_t half,
                                  int64_t partner, bool whole) {
  if (base < 0 || limit <= base)
    return emitError() << "expected 0 <= base < limit, found base " << base << " and limit "
                       << limit;
  if (outer < 1 || stride < 1 || half < 1)
    return emitError() << "expected positive outer, stride and half, found " << outer << ", "
                       << stride << " and " << half;
  if (partner < half)
    return emitError() << "expected partner columns at least half = " << half << " away, found "
                       << partner;
  return success();
}

SegmentAttr::Groups SegmentAttr::groups(int64_t unit, int64_t lanes) const {
  int64_t perOuter = unitsPerOuter(lanes);
  int64_t first = unit % perOuter * width(lanes);
  int64_t a = getBase() + unit / perOuter * getStride() + first;
  int64_t b = a + getPartner();
  int64_t count = std::min(width(lanes), getHalf() - first);
  auto valid = [&](int64_t column) { return std::clamp<int64_t>(getLimit() - column, 0, count); };
  return {a, valid(a), b, valid(b)};
}

void BufferOp::build(OpBuilder &builder, OperationState &state, StringAttr name, UnitAttr request,
                     DomainAttr domain, IntegerAttr offset, TypeAttr type) {
  build(builder, state, name, request, /*input=*/UnitAttr(), /*flagged=*/UnitAttr(), domain,
        OrderAttr(), /*record=*/IntegerAttr(), offset, type);
}

void mk_task::WeightOp::build(OpBuilder &builder, OperationState &state, StringAttr name,
                              ArrayAttr sources, LayoutAttr layout, TypeAttr type) {
  build(builder, state, name, sources, layout, IntegerAttr(), UnitAttr(), DenseI64ArrayAttr(),
        ArrayAttr(), FlatSymbolRefAttr(), ArrayAttr(), type);
}

bool mk_task::endsStep(KindOp kind) {
  return llvm::any_of(kind.getBody().getOps(), llvm::IsaPred<mk::AdvanceOp, mk::FinishOp>);
}

int64_t BufferOp::getRowBytes() {
  auto type = cast<RankedTensorType>(getType());
  int64_t columns = type.getRank() == 1 ? 1 : type.getDimSize(1);
  return llvm::alignTo(columns * type.getElementTypeBitWidth() / 8, kAlignment);
}

int64_t BufferOp::getPitch() {
  auto type = cast<RankedTensorType>(getType());
  if (getRecord())
    return *getRecord();
  return type.getRank() == 1 ? type.getElementTypeBitWidth() / 8 : getRowBytes();
}

int64_t BufferOp::getBytes(mk::OptionsAttr options) {
  int64_t rows = getDomain() == Domain::tokens ? options.getMaxTokens() : options.getMaxRows();
  return llvm::alignTo(rows * getPitch(), kAlignment);
}
