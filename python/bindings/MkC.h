// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What the Python module needs beyond MLIR's own C API (mlir-c): C functions only, because MLIR is
// built without exceptions and nanobind with them. Strings arrive through callbacks and live as
// long as the call.

#ifndef MK_PYTHON_BINDINGS_MKC_H
#define MK_PYTHON_BINDINGS_MKC_H

#include "mlir-c/IR.h"
#include "mlir-c/Support.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A message of the compiler. `severity` is "error", "warning", "note" or "remark"; `modulePath` is
/// empty if the location names no module of the model.
typedef void (*MkDiagnosticCallback)(MlirStringRef severity, MlirStringRef message,
                                     MlirStringRef location, MlirStringRef modulePath,
                                     void *userData);

/// A context with every dialect that a module may hold at any level; all of mk's passes are
/// registered.
MlirContext mkContextCreate(void);

/// Parses and verifies a module; null, after at least one error, if the text is wrong.
MlirModule mkModuleParse(MlirContext context, MlirStringRef text, MlirStringRef name,
                         MkDiagnosticCallback diagnostics, void *userData);

/// Runs a textual pipeline, "a,b{x=1}" or "builtin.module(a,b{x=1})". If `reproducer` is not empty,
/// a failing or crashing pass leaves the module and the pipeline in that file. Returns false on
/// failure.
bool mkModuleRun(MlirModule module, MlirStringRef pipeline, MlirStringRef reproducer, bool verify,
                 MkDiagnosticCallback diagnostics, void *userData);

/// Sets an attribute of the module's op from its text; false, after an error, if the text is wrong.
bool mkModuleSetAttribute(MlirModule module, MlirStringRef name, MlirStringRef text,
                          MkDiagnosticCallback diagnostics, void *userData);

/// The location as a person would write it: "file:line:column" or a module path.
void mkLocationText(MlirLocation location, MlirStringCallback callback, void *userData);
/// The module path that the importer wrote into the location; empty if there is none.
void mkLocationModulePath(MlirLocation location, MlirStringCallback callback, void *userData);

/// Machine code (an ELF relocatable object, or PTX if `mk.target` is a GPU) of a module of the llvm
/// dialect; false after an error.
bool mkEmitObject(MlirModule module, MlirStringRef cpu, MlirStringRef features,
                  MlirStringCallback object, MkDiagnosticCallback diagnostics, void *userData);

/// Makes a shared library of an ELF relocatable object with lld, inside the process. On failure
/// returns false and passes the linker's messages to `error`.
bool mkLinkObject(MlirStringRef object, MlirStringCallback library, MlirStringCallback error,
                  void *userData);

/// LLVM's name of this machine's processor, and its features, comma-separated.
void mkHostCpu(MlirStringCallback callback, void *userData);
void mkHostFeatures(MlirStringCallback callback, void *userData);

/// One array of the request block, as in mk_task::RequestArray.
typedef void (*MkRequestArrayCallback)(MlirStringRef name, MlirStringRef type, int64_t count,
                                       int64_t offset, void *userData);
/// The request arrays for the sizes in the module's `mk.options`, and the bytes of the block; -1
/// without that attribute.
int64_t mkRequestArrays(MlirModule module, MkRequestArrayCallback callback, void *userData);

/// The names of the cases of mk_task's enums; empty beyond the last.
MlirStringRef mkKindClassName(uint32_t value);
MlirStringRef mkDomainName(uint32_t value);
MlirStringRef mkLayoutName(uint32_t value);

#ifdef __cplusplus
}
#endif

#endif // MK_PYTHON_BINDINGS_MKC_H
