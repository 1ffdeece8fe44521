// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "python/bindings/MkC.h"

#include "dialects/mk_task/MkTask.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/CAPI/IR.h"
#include "mlir/CAPI/Support.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassInstrumentation.h"
#include "mlir/Pass/PassRegistry.h"
#include "passes/Passes.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/TargetParser/Host.h"
#if __has_include("passes/cpu/EmitObject.h")
#include "passes/cpu/EmitObject.h"
#endif
#include "passes/gpu/EmitPtx.h"

#include <mutex>

using namespace mlir;

static MlirStringRef toC(StringRef text) { return mlirStringRefCreate(text.data(), text.size()); }

//===----------------------------------------------------------------------===//
// Locations and diagnostics
//===----------------------------------------------------------------------===//

/// Mk.h answers for operations only.
static std::string modulePath(Location location) {
  OwningOpRef<ModuleOp> probe = ModuleOp::create(location);
  return mk::getModulePath(*probe);
}

static std::string describe(Location location) {
  if (auto file = location->findInstanceOf<FileLineColLoc>())
    return (file.getFilename().getValue() + ":" + Twine(file.getLine()) + ":" +
            Twine(file.getColumn()))
        .str();
  if (std::string path = modulePath(location); !path.empty())
    return path;
  return "";
}

static StringRef severityName(DiagnosticSeverity severity) {
  switch (severity) {
  case DiagnosticSeverity::Note:
    return "note";
  case DiagnosticSeverity::Warning:
    return "warning";
  case DiagnosticSeverity::Error:
    return "error";
  case DiagnosticSeverity::Remark:
    return "remark";
  }
  llvm_unreachable("unknown severity");
}

static void report(Diagnostic &diagnostic, MkDiagnosticCallback callback, void *userData) {
  std::string text = diagnostic.str(), location = describe(diagnostic.getLocation()),
              path = modulePath(diagnostic.getLocation());
  callback(toC(severityName(diagnostic.getSeverity())), toC(text), toC(location), toC(path),
           userData);
  for (Diagnostic &note : diagnostic.getNotes())
    report(note, callback, userData);
}

namespace {
/// Hands every diagnostic of its context to the callback as long as it lives.
struct DiagnosticsTo : ScopedDiagnosticHandler {
  DiagnosticsTo(MLIRContext *context, MkDiagnosticCallback callback, void *userData)
      : ScopedDiagnosticHandler(context) {
    setHandler([=](Diagnostic &diagnostic) { report(diagnostic, callback, userData); });
  }
};
} // namespace

void mkLocationText(MlirLocation location, MlirStringCallback callback, void *userData) {
  callback(toC(describe(unwrap(location))), userData);
}

void mkLocationModulePath(MlirLocation location, MlirStringCallback callback, void *userData) {
  callback(toC(modulePath(unwrap(location))), userData);
}

//===----------------------------------------------------------------------===//
// Modules
//===----------------------------------------------------------------------===//

MlirContext mkContextCreate() {
  static std::once_flag once;
  std::call_once(once, mk::registerAllPassesAndPipelines);
  DialectRegistry registry;
  mk::registerEverything(registry);
  auto *context = new MLIRContext(registry);
  context->loadAllAvailableDialects();
  context->allowUnregisteredDialects();
  return wrap(context);
}

MlirModule mkModuleParse(MlirContext context, MlirStringRef text, MlirStringRef name,
                         MkDiagnosticCallback diagnostics, void *userData) {
  DiagnosticsTo handler(unwrap(context), diagnostics, userData);
  ParserConfig config(unwrap(context));
  return wrap(parseSourceString<ModuleOp>(unwrap(text), config, unwrap(name)).release());
}

/// Cuts the first element off a comma-separated pipeline; what is in brackets belongs to its
/// element.
static StringRef takeElement(StringRef &pipeline) {
  int depth = 0;
  size_t end = 0;
  for (; end < pipeline.size() && (depth > 0 || pipeline[end] != ','); ++end)
    depth += StringRef("({[").contains(pipeline[end])   ? 1
             : StringRef(")}]").contains(pipeline[end]) ? -1
                                                        : 0;
  StringRef element = pipeline.take_front(end).trim();
  pipeline = pipeline.drop_front(std::min(end + 1, pipeline.size()));
  return element;
}

/// Like MLIR's parsePassPipeline, but a pass on functions needs no func.func(...) around it, as on
/// mk-opt's command line.
static LogicalResult parsePipeline(StringRef pipeline, PassManager &manager) {
  Location unknown = UnknownLoc::get(manager.getContext());
  pipeline = pipeline.trim();
  if (pipeline.consume_front("builtin.module(") && !pipeline.consume_back(")"))
    return emitError(unknown, "expected ')' at the end of the pipeline");
  while (!pipeline.empty()) {
    StringRef element = takeElement(pipeline),
              name = element.take_until([](char c) { return c == '{'; });
    StringRef options = element.drop_front(name.size());
    const PassRegistryEntry *entry = PassPipelineInfo::lookup(name);
    if (!entry)
      entry = PassInfo::lookup(name);
    if (!entry) { // an anchor with passes inside, or an error
      std::string messages;
      llvm::raw_string_ostream stream(messages);
      if (failed(parsePassPipeline(element, manager, stream)))
        return emitError(unknown, StringRef(messages).trim());
      continue;
    }
    if (!options.empty() && (!options.consume_front("{") || !options.consume_back("}")))
      return emitError(unknown) << "expected '}' at the end of '" << element << "'";
    if (failed(entry->addToPipeline(
            manager, options, [&](const Twine &message) { return emitError(unknown, message); })))
      return failure();
  }
  return success();
}

namespace {
/// Remembers which pass ran last; with threads, one of those that ran last.
struct LastPass : PassInstrumentation {
  std::string name;
  std::mutex mutex;

  void runBeforePass(Pass *pass, Operation *) override {
    std::lock_guard<std::mutex> lock(mutex);
    if (!pass->getArgument().empty()) // MLIR's own adaptors have none
      name = pass->getArgument().str();
  }
};
} // namespace

/// What `mk-opt --run-reproducer` reads. Not MLIR's own reproducer: that clones the module, and a
/// clone of an unregistered op (all of an imported model) has lost its properties.
static std::string reproducerText(ModuleOp op, PassManager &manager, bool verify) {
  std::string text, pipeline;
  llvm::raw_string_ostream stream(text), pipelineStream(pipeline);
  op.print(stream, OpPrintingFlags().useLocalScope().enableDebugInfo());
  manager.printAsTextualPipeline(pipelineStream);
  stream << "\n{-#\n  external_resources: {\n    mlir_reproducer: {\n      pipeline: \"";
  llvm::printEscapedString(pipeline, stream);
  stream << "\",\n      disable_threading: false,\n      verify_each: "
         << (verify ? "true" : "false") << "\n    }\n  }\n#-}\n";
  return text;
}

bool mkModuleRun(MlirModule module, MlirStringRef pipeline, MlirStringRef reproducer, bool verify,
                 MkDiagnosticCallback diagnostics, void *userData) {
  ModuleOp op = unwrap(module);
  DiagnosticsTo handler(op.getContext(), diagnostics, userData);
  PassManager manager(op.getContext(), ModuleOp::getOperationName(),
                      PassManager::Nesting::Implicit);
  if (failed(parsePipeline(unwrap(pipeline), manager)))
    return false;
  manager.enableVerifier(verify);
  if (reproducer.length == 0)
    return succeeded(manager.run(op));
  auto lastPass = std::make_unique<LastPass>();
  std::string &name = lastPass->name;
  manager.addInstrumentation(std::move(lastPass));
  std::string text = reproducerText(op, manager, verify);
  bool ok = false;
  llvm::CrashRecoveryContext::Enable();
  bool crashed = !llvm::CrashRecoveryContext().RunSafely([&] { ok = succeeded(manager.run(op)); });
  llvm::CrashRecoveryContext::Disable(); // its signal handlers belong to the host program again
  if (ok && !crashed)
    return true;
  Location unknown = UnknownLoc::get(op.getContext());
  emitError(unknown) << "the pass " << name << (crashed ? " crashed" : " failed");
  std::error_code code;
  llvm::raw_fd_ostream file(unwrap(reproducer), code);
  if (!code)
    file << text;
  return false;
}

bool mkModuleSetAttribute(MlirModule module, MlirStringRef name, MlirStringRef text,
                          MkDiagnosticCallback diagnostics, void *userData) {
  ModuleOp op = unwrap(module);
  DiagnosticsTo handler(op.getContext(), diagnostics, userData);
  Attribute attribute = parseAttribute(unwrap(text), op.getContext());
  if (!attribute)
    return false;
  op->setAttr(unwrap(name), attribute);
  return succeeded(verify(op, /*verifyRecursively=*/false));
}

//===----------------------------------------------------------------------===//
// Code
//===----------------------------------------------------------------------===//

bool mkEmitObject(MlirModule module, MlirStringRef cpu, MlirStringRef features,
                  MlirStringCallback object, MkDiagnosticCallback diagnostics, void *userData) {
  ModuleOp op = unwrap(module);
  DiagnosticsTo handler(op.getContext(), diagnostics, userData);
#if __has_include("passes/cpu/EmitObject.h")
  mk::TargetAttr target = mk::getTarget(op);
  FailureOr<std::string> bytes = target && target.isGpu()
                                     ? mk::emitPtx(op, unwrap(cpu))
                                     : mk::emitObject(op, unwrap(cpu), unwrap(features));
  if (failed(bytes))
    return false;
  object(toC(*bytes), userData);
  return true;
#else
  return op.emitError("this build of mk has no code generation"), false;
#endif
}

void mkHostCpu(MlirStringCallback callback, void *userData) {
  callback(toC(llvm::sys::getHostCPUName()), userData);
}

void mkHostFeatures(MlirStringCallback callback, void *userData) {
  SmallVector<StringRef> names;
  llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
  for (const auto &feature : features)
    if (feature.second)
      names.push_back(feature.first());
  llvm::sort(names);
  callback(toC(llvm::join(names, ",")), userData);
}

//===----------------------------------------------------------------------===//
// The contract with the runtime
//===----------------------------------------------------------------------===//

int64_t mkRequestArrays(MlirModule module, MkRequestArrayCallback callback, void *userData) {
  mk::OptionsAttr options = mk::getOptions(unwrap(module));
  if (!options)
    return -1;
  int64_t bytes = 0;
  for (const mk_task::RequestArray &array : mk_task::requestArrays(options, &bytes))
    callback(toC(array.name), toC(array.type), array.count, array.offset, userData);
  return bytes;
}

template <typename Enum>
static MlirStringRef enumName(uint32_t value, std::optional<Enum> (*symbolize)(uint32_t),
                              StringRef (*text)(Enum)) {
  std::optional<Enum> found = symbolize(value);
  return toC(found ? text(*found) : StringRef());
}

MlirStringRef mkKindClassName(uint32_t value) {
  return enumName(value, mk_task::symbolizeKindClass, mk_task::stringifyKindClass);
}
MlirStringRef mkDomainName(uint32_t value) {
  return enumName(value, mk_task::symbolizeDomain, mk_task::stringifyDomain);
}
MlirStringRef mkLayoutName(uint32_t value) {
  return enumName(value, mk_task::symbolizeLayout, mk_task::stringifyLayout);
}
