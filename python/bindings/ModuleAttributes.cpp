// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Attributes and types as Python values; their Python side is mk.ir.attributes.

#include "python/bindings/Handles.h"

#include <nanobind/stl/string.h>

#include "mlir-c/BuiltinAttributes.h"
#include "mlir-c/BuiltinTypes.h"

#include <vector>

/// The Python side of attributes: str subclasses and the array maker of mk.ir.attributes.
static nb::object pythonSide(const char *name) {
  return nb::module_::import_("mk.ir.attributes").attr(name);
}

static nb::str typeText(MlirType type) { return nb::str(printed(mlirTypePrint, type).c_str()); }

nb::object toPython(MlirType type) { return pythonSide("Type")(typeText(type)); }

static nb::object elementsToPython(MlirAttribute attribute) {
  MlirType type = mlirAttributeGetType(attribute);
  nb::list shape;
  int64_t elements = 1;
  for (intptr_t i = 0, rank = mlirShapedTypeGetRank(type); i < rank; ++i) {
    shape.append(mlirShapedTypeGetDimSize(type, i));
    elements *= mlirShapedTypeGetDimSize(type, i);
  }
  MlirType element = mlirShapedTypeGetElementType(type);
  size_t width = mlirTypeIsAInteger(element) ? mlirIntegerTypeGetWidth(element)
                                             : mlirFloatTypeGetWidth(element);
  size_t stored = mlirDenseElementsAttrIsSplat(attribute) ? 1 : elements;
  auto *data = static_cast<const char *>(mlirDenseElementsAttrGetRawData(attribute));
  return pythonSide("make_array")(nb::bytes(data, stored * width / 8), typeText(element), shape);
}

template <typename Element>
static nb::object denseArray(MlirAttribute attribute, const char *type,
                             Element (*get)(MlirAttribute, intptr_t)) {
  std::vector<Element> values(mlirDenseArrayGetNumElements(attribute));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = get(attribute, i);
  nb::list shape;
  shape.append(values.size());
  return pythonSide("make_array")(
      nb::bytes(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(Element)),
      type, shape);
}

nb::object toPython(MlirAttribute attribute) {
  if (mlirAttributeIsABool(attribute))
    return nb::bool_(mlirBoolAttrGetValue(attribute));
  if (mlirAttributeIsAInteger(attribute)) {
    MlirType type = mlirAttributeGetType(attribute);
    if (mlirTypeIsAInteger(type) && mlirIntegerTypeIsUnsigned(type))
      return nb::int_(mlirIntegerAttrGetValueUInt(attribute));
    if (mlirTypeIsAInteger(type) && mlirIntegerTypeIsSigned(type))
      return nb::int_(mlirIntegerAttrGetValueSInt(attribute));
    return nb::int_(mlirIntegerAttrGetValueInt(attribute));
  }
  if (mlirAttributeIsAFloat(attribute))
    return nb::float_(mlirFloatAttrGetValueDouble(attribute));
  if (mlirAttributeIsAString(attribute))
    return toPython(mlirStringAttrGetValue(attribute));
  if (mlirAttributeIsAUnit(attribute))
    return nb::bool_(true);
  if (mlirAttributeIsAFlatSymbolRef(attribute))
    return pythonSide("Symbol")(toPython(mlirFlatSymbolRefAttrGetValue(attribute)));
  if (mlirAttributeIsAType(attribute))
    return toPython(mlirTypeAttrGetValue(attribute));
  if (mlirAttributeIsAArray(attribute)) {
    nb::list list;
    for (intptr_t i = 0, n = mlirArrayAttrGetNumElements(attribute); i < n; ++i)
      list.append(toPython(mlirArrayAttrGetElement(attribute, i)));
    return list;
  }
  if (mlirAttributeIsADictionary(attribute)) {
    nb::dict dict;
    for (intptr_t i = 0, n = mlirDictionaryAttrGetNumElements(attribute); i < n; ++i) {
      MlirNamedAttribute named = mlirDictionaryAttrGetElement(attribute, i);
      dict[toPython(mlirIdentifierStr(named.name))] = toPython(named.attribute);
    }
    return dict;
  }
  if (mlirAttributeIsADenseI64Array(attribute))
    return denseArray(attribute, "i64", mlirDenseI64ArrayGetElement);
  if (mlirAttributeIsADenseI32Array(attribute))
    return denseArray(attribute, "i32", mlirDenseI32ArrayGetElement);
  if (mlirAttributeIsADenseF32Array(attribute))
    return denseArray(attribute, "f32", mlirDenseF32ArrayGetElement);
  if (mlirAttributeIsADenseF64Array(attribute))
    return denseArray(attribute, "f64", mlirDenseF64ArrayGetElement);
  bool isNumbers =
      mlirAttributeIsADenseIntElements(attribute) || mlirAttributeIsADenseFPElements(attribute);
  if (isNumbers && !mlirTypeIsAIndex(mlirShapedTypeGetElementType(mlirAttributeGetType(attribute))))
    return elementsToPython(attribute);
  return pythonSide("Attribute")(printed(mlirAttributePrint, attribute));
}
