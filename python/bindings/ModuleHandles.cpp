// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Walking a module from Python: operations, regions, blocks, values.

#include "python/bindings/Handles.h"
#include "python/bindings/MkC.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

static std::string print(MlirOperation op, bool generic, bool locations) {
  MlirOpPrintingFlags flags = mlirOpPrintingFlagsCreate();
  if (generic)
    mlirOpPrintingFlagsPrintGenericOpForm(flags);
  if (locations) {
    mlirOpPrintingFlagsEnableDebugInfo(flags, /*enable=*/true, /*prettyForm=*/false);
    mlirOpPrintingFlagsUseLocalScope(flags); // a location beside its op, where a search finds it
  }
  std::string text;
  mlirOperationPrintWithFlags(op, flags, append, &text);
  mlirOpPrintingFlagsDestroy(flags);
  return text;
}

static nb::dict attributes(const Operation &self) {
  MlirOperation op = self.get();
  nb::dict dict;
  for (intptr_t i = 0, n = mlirOperationGetNumAttributes(op); i < n; ++i) {
    MlirNamedAttribute named = mlirOperationGetAttribute(op, i);
    dict[toPython(mlirIdentifierStr(named.name))] = toPython(named.attribute);
  }
  return dict;
}

/// A Python list of `n` handles made by `get(i)`.
template <typename Get> static nb::list handles(intptr_t n, Get get) {
  nb::list list;
  for (intptr_t i = 0; i < n; ++i)
    list.append(get(i));
  return list;
}

static std::optional<Operation> wrapOperation(const Handle &from, MlirOperation op) {
  return mlirOperationIsNull(op) ? std::nullopt : std::optional(Operation(from, op));
}

static void defineOperation(nb::class_<Operation> &cls) {
  cls.def_prop_ro("name",
                  [](const Operation &self) {
                    return toPython(mlirIdentifierStr(mlirOperationGetName(self.get())));
                  })
      .def_prop_ro("operands",
                   [](const Operation &self) {
                     return handles(mlirOperationGetNumOperands(self.get()), [&](intptr_t i) {
                       return Value(self, mlirOperationGetOperand(self.op, i));
                     });
                   })
      .def_prop_ro("results",
                   [](const Operation &self) {
                     return handles(mlirOperationGetNumResults(self.get()), [&](intptr_t i) {
                       return Value(self, mlirOperationGetResult(self.op, i));
                     });
                   })
      .def_prop_ro("regions",
                   [](const Operation &self) {
                     return handles(mlirOperationGetNumRegions(self.get()), [&](intptr_t i) {
                       return Region(self, mlirOperationGetRegion(self.op, i));
                     });
                   })
      .def_prop_ro("attributes", attributes)
      .def_prop_ro("location",
                   [](const Operation &self) {
                     return printed(mkLocationText, mlirOperationGetLocation(self.get()));
                   })
      .def_prop_ro("module_path",
                   [](const Operation &self) {
                     return printed(mkLocationModulePath, mlirOperationGetLocation(self.get()));
                   })
      .def_prop_ro("parent",
                   [](const Operation &self) {
                     return wrapOperation(self, mlirOperationGetParentOperation(self.get()));
                   })
      .def(
          "text",
          [](const Operation &self, bool generic, bool locations) {
            return print(self.get(), generic, locations);
          },
          nb::arg("generic") = false, nb::arg("locations") = false)
      .def("__str__", [](const Operation &self) { return print(self.get(), false, false); })
      .def("__eq__", [](const Operation &self,
                        const Operation &other) { return self.op.ptr == other.op.ptr; })
      .def("__eq__", [](const Operation &, nb::handle) { return false; })
      .def("__hash__",
           [](const Operation &self) { return reinterpret_cast<intptr_t>(self.op.ptr) >> 4; });
}

static nb::list operationsOf(const Block &self) {
  nb::list list;
  for (MlirOperation op = mlirBlockGetFirstOperation(self.get()); !mlirOperationIsNull(op);
       op = mlirOperationGetNextInBlock(op))
    list.append(Operation(self, op));
  return list;
}

static void defineBlock(nb::class_<Block> &cls) {
  cls.def_prop_ro("arguments",
                  [](const Block &self) {
                    return handles(mlirBlockGetNumArguments(self.get()), [&](intptr_t i) {
                      return Value(self, mlirBlockGetArgument(self.block, i));
                    });
                  })
      .def_prop_ro("operations", operationsOf)
      .def("__iter__", [](const Block &self) { return nb::iter(operationsOf(self)); })
      .def_prop_ro("parent",
                   [](const Block &self) {
                     return wrapOperation(self, mlirBlockGetParentOperation(self.get()));
                   })
      .def("__eq__",
           [](const Block &self, const Block &other) { return self.block.ptr == other.block.ptr; })
      .def("__eq__", [](const Block &, nb::handle) { return false; })
      .def("__hash__",
           [](const Block &self) { return reinterpret_cast<intptr_t>(self.block.ptr) >> 4; });
}

static nb::list blocksOf(const Region &self) {
  nb::list list;
  for (MlirBlock block = mlirRegionGetFirstBlock(self.get()); !mlirBlockIsNull(block);
       block = mlirBlockGetNextInRegion(block))
    list.append(Block(self, block));
  return list;
}

static void defineValue(nb::class_<Value> &cls) {
  cls.def_prop_ro("type", [](const Value &self) { return toPython(mlirValueGetType(self.get())); })
      .def_prop_ro("owner",
                   [](const Value &self) -> nb::object {
                     if (mlirValueIsAOpResult(self.get()))
                       return nb::cast(Operation(self, mlirOpResultGetOwner(self.value)));
                     return nb::cast(Block(self, mlirBlockArgumentGetOwner(self.value)));
                   })
      .def_prop_ro("index",
                   [](const Value &self) {
                     return mlirValueIsAOpResult(self.get())
                                ? mlirOpResultGetResultNumber(self.value)
                                : mlirBlockArgumentGetArgNumber(self.value);
                   })
      .def("__eq__",
           [](const Value &self, const Value &other) { return self.value.ptr == other.value.ptr; })
      .def("__eq__", [](const Value &, nb::handle) { return false; })
      .def("__hash__",
           [](const Value &self) { return reinterpret_cast<intptr_t>(self.value.ptr) >> 3; });
}

void defineHandles(nb::module_ &module) {
  nb::class_<Operation> operation(module, "Operation");
  nb::class_<Block> block(module, "Block");
  nb::class_<Value> value(module, "Value");
  defineOperation(operation);
  defineBlock(block);
  defineValue(value);
  nb::class_<Region>(module, "Region")
      .def_prop_ro("blocks", blocksOf)
      .def("__iter__", [](const Region &self) { return nb::iter(blocksOf(self)); });
}
