// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// How the types and attributes of mk are written, and which of them make sense.

#include "dialects/mk/Mk.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringExtras.h"

#include <numeric>

namespace mlir::mk {

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

//===----------------------------------------------------------------------===//
// !mk.cache<HxDxtype>
//===----------------------------------------------------------------------===//

Type CacheType::parse(AsmParser &parser) {
  SmallVector<int64_t> sizes;
  Type elementType;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseDimensionList(sizes, /*allowDynamic=*/false) ||
      parser.parseType(elementType) || parser.parseGreater())
    return {};
  if (sizes.size() != 2) {
    parser.emitError(loc) << "expected <heads x head_dim x type>, found " << sizes.size()
                          << " sizes";
    return {};
  }
  return parser.getChecked<CacheType>(loc, parser.getContext(), sizes[0], sizes[1], elementType);
}

void CacheType::print(AsmPrinter &printer) const {
  printer << '<' << getHeads() << 'x' << getHeadDim() << 'x' << getElementType() << '>';
}

LogicalResult CacheType::verify(EmitError emitError, int64_t heads, int64_t headDim, Type type) {
  if (!type.isF32() && !type.isBF16())
    return emitError() << "expected a cache of f32 or bf16, found " << type;
  // Keys lie in words of 4 bytes that never span two heads.
  int64_t wordElements = 32 / type.getIntOrFloatBitWidth();
  if (heads <= 0 || headDim <= 0 || headDim % wordElements != 0)
    return emitError()
           << "expected a cache of positive sizes with a head_dim that is a multiple of "
           << wordElements << ", found " << heads << "x" << headDim;
  return success();
}

//===----------------------------------------------------------------------===//
// #mk.target
//===----------------------------------------------------------------------===//

LogicalResult TargetAttr::verify(EmitError emitError, StringRef kind, StringRef features,
                                 int64_t workers, int64_t lanes, int64_t bandwidth, int64_t shared,
                                 int64_t inFlight, int64_t registers, int64_t bulkCopy,
                                 int64_t setRegisters, int64_t mmaBf16) {
  if (kind != "cpu" && kind != "gpu")
    return emitError() << "expected target kind \"cpu\" or \"gpu\", found \"" << kind << "\"";
  if (workers <= 0)
    return emitError() << "expected at least one worker, found " << workers;
  if (kind == "gpu") {
    if (lanes != 2)
      return emitError() << "expected 2 lanes on a gpu, found " << lanes;
    if (shared <= 0 || inFlight <= 0)
      return emitError() << "expected the shared memory and the bytes in flight of a gpu, found "
                         << shared << " and " << inFlight;
    if (registers <= 0)
      return emitError() << "expected the registers of a multiprocessor, found " << registers;
  } else if (lanes != 4 && lanes != 8 && lanes != 16) {
    return emitError() << "expected 4, 8 or 16 lanes, found " << lanes;
  }
  for (auto [name, value] :
       {std::pair("bulk_copy", bulkCopy), {"set_registers", setRegisters}, {"mma_bf16", mmaBf16}})
    if (value != 0 && value != 1)
      return emitError() << "expected " << name << " to be 0 or 1, found " << value;
  if (bandwidth <= 0)
    return emitError() << "expected a positive bandwidth, found " << bandwidth;
  return success();
}

//===----------------------------------------------------------------------===//
// #mk.options
//===----------------------------------------------------------------------===//

static constexpr llvm::StringLiteral kOptionNames[] = {"max_tokens", "max_rows", "max_sequences",
                                                       "max_length", "page",     "split"};

Attribute OptionsAttr::parse(AsmParser &parser, Type) {
  int64_t values[] = {512, 64, 8, 2048, 64, 256};
  SMLoc loc = parser.getCurrentLocation();
  auto parseField = [&]() -> ParseResult {
    StringRef name;
    SMLoc nameLoc = parser.getCurrentLocation();
    if (parser.parseKeyword(&name))
      return failure();
    const auto *found = llvm::find(kOptionNames, name);
    if (found == std::end(kOptionNames))
      return parser.emitError(nameLoc)
             << "expected one of " << llvm::join(ArrayRef(kOptionNames), ", ") << ", found "
             << name;
    return failure(parser.parseEqual() ||
                   parser.parseInteger(values[found - std::begin(kOptionNames)]));
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, parseField))
    return {};
  return parser.getChecked<OptionsAttr>(loc, parser.getContext(), values[0], values[1], values[2],
                                        values[3], values[4], values[5]);
}

void OptionsAttr::print(AsmPrinter &printer) const {
  int64_t values[] = {getMaxTokens(), getMaxRows(), getMaxSequences(),
                      getMaxLength(), getPage(),    getSplit()};
  printer << '<';
  llvm::interleaveComma(llvm::zip(kOptionNames, values), printer, [&](auto field) {
    printer << std::get<0>(field) << " = " << std::get<1>(field);
  });
  printer << '>';
}

LogicalResult OptionsAttr::verify(EmitError emitError, int64_t maxTokens, int64_t maxRows,
                                  int64_t maxSequences, int64_t maxLength, int64_t page,
                                  int64_t split) {
  int64_t values[] = {maxTokens, maxRows, maxSequences, maxLength, page, split};
  for (auto [name, value] : llvm::zip(kOptionNames, values))
    if (value <= 0 || value > INT32_MAX)
      return emitError() << "expected " << name << " in 1 .. 2147483647, found " << value;
  auto multiple = [&](StringRef name, int64_t value, StringRef of, int64_t unit) -> LogicalResult {
    if (value % unit == 0)
      return success();
    return emitError() << "expected " << name << " to be a multiple of " << of << ", found "
                       << value << " and " << unit;
  };
  auto atMost = [&](StringRef name, int64_t value, StringRef of, int64_t limit) -> LogicalResult {
    if (value <= limit)
      return success();
    return emitError() << "expected " << name << " to be at most " << of << ", found " << value
                       << " and " << limit;
  };
  // Decoding asks for one token and one logit row of every sequence.
  if (failed(multiple("page", page, "the smallest vector", 4)) ||
      failed(multiple("split", split, "page", page)) ||
      failed(multiple("max_length", maxLength, "page", page)) ||
      failed(atMost("max_rows", maxRows, "max_tokens", maxTokens)) ||
      failed(atMost("max_sequences", maxSequences, "max_rows", maxRows)))
    return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// #mk.view
//===----------------------------------------------------------------------===//

Attribute ViewAttr::parse(AsmParser &parser, Type) {
  SmallVector<int64_t> shape, sizes, strides;
  bool transposed = false, flat = false;
  int64_t offset = 0;
  double plus = 0;
  SMLoc loc = parser.getCurrentLocation();
  auto parseList = [&](SmallVector<int64_t> &list) {
    return parser.parseCommaSeparatedList(AsmParser::Delimiter::Square,
                                          [&] { return parser.parseInteger(list.emplace_back()); });
  };
  auto parseField = [&]() -> ParseResult {
    StringRef name;
    SMLoc nameLoc = parser.getCurrentLocation();
    if (parser.parseKeyword(&name) || parser.parseEqual())
      return failure();
    if (name == "shape")
      return parseList(shape);
    if (name == "sizes")
      return parseList(sizes);
    if (name == "strides")
      return parseList(strides);
    if (name == "offset")
      return parser.parseInteger(offset);
    if (name == "plus")
      return parser.parseFloat(plus);
    if (name != "transposed" && name != "flat")
      return parser.emitError(nameLoc) << "expected shape, transposed, offset, sizes, strides, "
                                          "plus or flat, found "
                                       << name;
    (name == "flat" ? flat : transposed) = true;
    return parser.parseKeyword("true");
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, parseField))
    return {};
  return parser.getChecked<ViewAttr>(loc, parser.getContext(), ArrayRef<int64_t>(shape), transposed,
                                     offset, ArrayRef<int64_t>(sizes), ArrayRef<int64_t>(strides),
                                     APFloat(plus), flat);
}

void ViewAttr::print(AsmPrinter &printer) const {
  auto printList = [&](StringRef name, ArrayRef<int64_t> list) {
    printer << name << " = [";
    llvm::interleaveComma(list, printer);
    printer << ']';
  };
  printer << '<';
  printList("shape", getShape());
  if (getTransposed())
    printer << ", transposed = true";
  if (getOffset())
    printer << ", offset = " << getOffset();
  if (!getSizes().empty()) {
    printList(", sizes", getSizes());
    printList(", strides", getStrides());
  }
  if (!getPlus().isZero())
    (printer << ", plus = ").printFloat(getPlus());
  if (getFlat())
    printer << ", flat = true";
  printer << '>';
}

LogicalResult ViewAttr::verify(EmitError emitError, ArrayRef<int64_t> shape, bool transposed,
                               int64_t offset, ArrayRef<int64_t> sizes, ArrayRef<int64_t> strides,
                               APFloat plus, bool flat) {
  auto isPositive = [](int64_t size) { return size > 0; };
  if (flat) {
    if (!llvm::all_of(shape, isPositive))
      return emitError() << "expected the positive sizes of a tensor, found " << shape;
    if (transposed || offset || !sizes.empty() || !strides.empty() || !plus.isZero())
      return emitError() << "expected nothing but the shape of a flat view";
    return success();
  }
  if (shape.empty() || shape.size() > 2 || !llvm::all_of(shape, isPositive))
    return emitError() << "expected the positive sizes of a vector or matrix, found " << shape;
  if (transposed && shape.size() != 2)
    return emitError() << "expected a matrix to transpose, found " << shape;
  if (sizes.size() != strides.size() || !llvm::all_of(sizes, isPositive))
    return emitError() << "expected as many positive sizes as strides, found " << sizes << " and "
                       << strides;
  int64_t rows = transposed ? shape[1] : shape[0], lowest = offset, highest = offset;
  for (auto [size, stride] : llvm::zip_equal(sizes, strides))
    (stride < 0 ? lowest : highest) += (size - 1) * stride;
  if (lowest < 0 || highest >= rows || (sizes.empty() && offset != 0))
    return emitError() << "expected rows of the " << rows << " there are, found " << lowest
                       << " .. " << highest;
  if (!plus.isFinite())
    return emitError() << "expected to add a finite number, found " << plus.convertToDouble();
  return success();
}

SmallVector<int64_t> ViewAttr::getViewedShape() const {
  SmallVector<int64_t> shape(getShape());
  if (getFlat())
    return {std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<int64_t>())};
  if (getTransposed())
    std::swap(shape[0], shape[1]);
  if (!getSizes().empty())
    shape[0] = std::accumulate(getSizes().begin(), getSizes().end(), int64_t(1),
                               std::multiplies<int64_t>());
  return shape;
}

} // namespace mlir::mk
