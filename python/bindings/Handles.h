// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What the files of the Python module share: text across the C API, and the handles that Python
// holds.

#ifndef MK_PYTHON_BINDINGS_HANDLES_H
#define MK_PYTHON_BINDINGS_HANDLES_H

#include <nanobind/nanobind.h>

#include "mlir-c/IR.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace nb = nanobind;

inline MlirStringRef toC(std::string_view text) {
  return mlirStringRefCreate(text.data(), text.size());
}
inline nb::str toPython(MlirStringRef text) { return nb::str(text.data, text.length); }

/// A MlirStringCallback whose user data is the std::string that it appends to.
inline void append(MlirStringRef part, void *text) {
  static_cast<std::string *>(text)->append(part.data, part.length);
}

/// What `print(object, callback, userData)` prints.
template <typename Object>
std::string printed(void (*print)(Object, MlirStringCallback, void *), Object object) {
  std::string text;
  print(object, append, &text);
  return text;
}

/// A module with a context of its own. `generation` counts the changes: a handle from before one is
/// dead.
struct State {
  MlirContext context;
  MlirModule module;
  uint64_t generation = 0;
  bool running = false;

  ~State() {
    mlirModuleDestroy(module);
    mlirContextDestroy(context);
  }
};

/// What every handle holds: the module, kept alive, and the generation it belongs to.
struct Handle {
  std::shared_ptr<State> state;
  uint64_t generation;

  explicit Handle(std::shared_ptr<State> owner)
      : state(std::move(owner)), generation(state->generation) {}
  Handle(const Handle &) = default;

  void check() const {
    if (state->running || generation != state->generation)
      throw std::runtime_error("the module was changed by run(); walk it again");
  }
};

struct Operation : Handle {
  MlirOperation op;
  Operation(const Handle &from, MlirOperation op) : Handle(from), op(op) {}
  MlirOperation get() const { return check(), op; }
};
struct Region : Handle {
  MlirRegion region;
  Region(const Handle &from, MlirRegion region) : Handle(from), region(region) {}
  MlirRegion get() const { return check(), region; }
};
struct Block : Handle {
  MlirBlock block;
  Block(const Handle &from, MlirBlock block) : Handle(from), block(block) {}
  MlirBlock get() const { return check(), block; }
};
struct Value : Handle {
  MlirValue value;
  Value(const Handle &from, MlirValue value) : Handle(from), value(value) {}
  MlirValue get() const { return check(), value; }
};

/// An attribute as a Python value, and a type as a mk.ir.Type.
nb::object toPython(MlirAttribute attribute);
nb::object toPython(MlirType type);

/// Registers Operation, Region, Block and Value.
void defineHandles(nb::module_ &module);

#endif // MK_PYTHON_BINDINGS_HANDLES_H
