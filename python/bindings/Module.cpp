// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The Python module `mk.compiler._native._mlir`: a module, its changes, and the calls of MkC.h. Its
// types are in python/mk/ir/native.pyi; what users see is mk.ir.

#include "python/bindings/Handles.h"
#include "python/bindings/MkC.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <vector>

/// Collected while the GIL may be released, so nothing of Python in it.
struct Diagnostic {
  std::string severity, message, location, modulePath;
};
using Diagnostics = std::vector<Diagnostic>;

static void collect(MlirStringRef severity, MlirStringRef message, MlirStringRef location,
                    MlirStringRef modulePath, void *diagnostics) {
  auto text = [](MlirStringRef ref) { return std::string(ref.data, ref.length); };
  static_cast<Diagnostics *>(diagnostics)
      ->push_back({text(severity), text(message), text(location), text(modulePath)});
}

static nb::list toPython(const Diagnostics &diagnostics) {
  nb::list list;
  for (const Diagnostic &one : diagnostics)
    list.append(nb::make_tuple(one.severity, one.message, one.location, one.modulePath));
  return list;
}

struct Module {
  std::shared_ptr<State> state;

  State &get() const {
    if (state->running)
      throw std::runtime_error("the module is being changed by run() on another thread");
    return *state;
  }
};

static nb::tuple parse(std::string_view text, std::string_view name) {
  Diagnostics diagnostics;
  auto state = std::make_shared<State>();
  {
    nb::gil_scoped_release release;
    state->context = mkContextCreate();
    state->module = mkModuleParse(state->context, toC(text), toC(name), collect, &diagnostics);
  }
  bool ok = !mlirModuleIsNull(state->module);
  return nb::make_tuple(ok ? nb::cast(Module{state}) : nb::none(), toPython(diagnostics));
}

static nb::tuple run(const Module &self, const std::string &pipeline, const std::string &reproducer,
                     bool verify) {
  State &state = self.get();
  Diagnostics diagnostics;
  ++state.generation;
  state.running = true;
  bool ok;
  {
    nb::gil_scoped_release release;
    ok = mkModuleRun(state.module, toC(pipeline), toC(reproducer), verify, collect, &diagnostics);
  }
  state.running = false;
  return nb::make_tuple(ok, toPython(diagnostics));
}

static nb::tuple setAttribute(const Module &self, std::string_view name, std::string_view text) {
  Diagnostics diagnostics;
  ++self.get().generation;
  bool ok = mkModuleSetAttribute(self.state->module, toC(name), toC(text), collect, &diagnostics);
  return nb::make_tuple(ok, toPython(diagnostics));
}

static nb::tuple emitObject(const Module &self, std::string_view cpu, std::string_view features) {
  State &state = self.get();
  struct {
    std::string object;
    Diagnostics diagnostics;
  } result;
  state.running = true;
  bool ok;
  {
    nb::gil_scoped_release release;
    // One user data serves both callbacks: each knows its own member.
    ok = mkEmitObject(
        state.module, toC(cpu), toC(features),
        [](MlirStringRef part, void *data) {
          append(part, &static_cast<decltype(&result)>(data)->object);
        },
        [](MlirStringRef severity, MlirStringRef message, MlirStringRef location,
           MlirStringRef path, void *data) {
          collect(severity, message, location, path,
                  &static_cast<decltype(&result)>(data)->diagnostics);
        },
        &result);
  }
  state.running = false;
  return nb::make_tuple(ok ? nb::object(nb::bytes(result.object.data(), result.object.size()))
                           : nb::none(),
                        toPython(result.diagnostics));
}

/// (library, messages): one of the two is None.
static nb::tuple linkObject(nb::bytes object) {
  struct {
    std::string library, error;
  } result;
  bool ok;
  {
    nb::gil_scoped_release release;
    ok = mkLinkObject(
        mlirStringRefCreate(object.c_str(), object.size()),
        [](MlirStringRef part, void *data) {
          append(part, &static_cast<decltype(&result)>(data)->library);
        },
        [](MlirStringRef part, void *data) {
          append(part, &static_cast<decltype(&result)>(data)->error);
        },
        &result);
  }
  return nb::make_tuple(ok ? nb::object(nb::bytes(result.library.data(), result.library.size()))
                           : nb::none(),
                        ok ? nb::none() : nb::object(nb::str(result.error.c_str())));
}

/// Everything of Abi.def and mk_task's enums that does not depend on a program.
static nb::dict abi() {
  nb::list instruction, context;
  nb::dict requestDocs;
#define MK_INSTRUCTION(name, index, doc) instruction.append(nb::make_tuple(#name, index, doc));
#define MK_CONTEXT(name, index, doc) context.append(nb::make_tuple(#name, index, doc));
#define MK_REQUEST(name, type, count, doc) requestDocs[#name] = nb::str(doc);
#include "runtime/abi/Abi.def"
  nb::dict dict;
  dict["instruction"] = instruction;
  dict["context"] = context;
  dict["request_docs"] = requestDocs;
  auto names = [](MlirStringRef (*get)(uint32_t)) {
    nb::list list;
    for (uint32_t value = 0; get(value).length; ++value)
      list.append(toPython(get(value)));
    return list;
  };
  dict["kind_classes"] = names(mkKindClassName);
  dict["domains"] = names(mkDomainName);
  dict["layouts"] = names(mkLayoutName);
  return dict;
}

/// ([(name, type, count, offset)], bytes); None without `mk.options`.
static nb::object requestArrays(const Module &self) {
  nb::list list;
  int64_t bytes = mkRequestArrays(
      self.get().module,
      [](MlirStringRef name, MlirStringRef type, int64_t count, int64_t offset, void *data) {
        static_cast<nb::list *>(data)->append(
            nb::make_tuple(toPython(name), toPython(type), count, offset));
      },
      &list);
  return bytes < 0 ? nb::none() : nb::object(nb::make_tuple(list, bytes));
}

NB_MODULE(_mlir, m) {
  m.doc() = "The compiler's C++ side; see mk.ir.";
  defineHandles(m);
  nb::class_<Module>(m, "Module")
      .def_prop_ro("operation",
                   [](const Module &self) {
                     self.get();
                     return Operation(Handle(self.state),
                                      mlirModuleGetOperation(self.state->module));
                   })
      .def("run", run, nb::arg("pipeline"), nb::arg("reproducer"), nb::arg("verify"))
      .def("set_attribute", setAttribute, nb::arg("name"), nb::arg("text"))
      .def("emit_object", emitObject, nb::arg("cpu"), nb::arg("features"))
      .def("request_arrays", requestArrays);
  m.def("parse", parse, nb::arg("text"), nb::arg("name"));
  m.def("link_object", linkObject, nb::arg("object"));
  m.def("host_cpu", [] {
    std::string text;
    mkHostCpu(append, &text);
    return text;
  });
  m.def("host_features", [] {
    std::string text;
    mkHostFeatures(append, &text);
    return text;
  });
  m.def("abi", abi);
}
