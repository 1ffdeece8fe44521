// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// mk-opt runs any pass or pipeline of mk on a file: what the tests and `./dev repro` are made of. A
// pass that fails or crashes leaves a file in the temporary directory, and the last line says how
// to replay it.

#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "passes/Passes.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

/// Where to leave the reproducer; empty if the user has said so, wants to see only the errors that
/// a test expects, or replays one already.
static std::string reproducerPath(llvm::ArrayRef<char *> arguments) {
  for (llvm::StringRef argument : arguments) {
    llvm::StringRef name = argument.ltrim('-').split('=').first;
    if (argument.starts_with("-") && (name == "mlir-pass-pipeline-crash-reproducer" ||
                                      name == "verify-diagnostics" || name == "run-reproducer"))
      return "";
  }
  llvm::SmallString<128> path;
  llvm::sys::path::system_temp_directory(/*erasedOnReboot=*/true, path);
  llvm::sys::path::append(path,
                          "mk-opt-" + llvm::Twine(llvm::sys::Process::getProcessId()) + ".mlir");
  llvm::sys::fs::remove(path); // of an earlier process with this number
  return path.str().str();
}

int main(int argc, char **argv) {
  std::string path = reproducerPath({argv, size_t(argc)}),
              option = "--mlir-pass-pipeline-crash-reproducer=" + path;
  llvm::SmallVector<char *> arguments(argv, argv + argc);
  if (!path.empty())
    arguments.insert(arguments.begin() + 1, option.data());
  arguments.push_back(nullptr);

  mlir::DialectRegistry registry;
  mlir::mk::registerEverything(registry);
  mlir::mk::registerAllPassesAndPipelines();
  llvm::LogicalResult result =
      mlir::MlirOptMain(arguments.size() - 1, arguments.data(),
                        "mk: optimise and lower a model step by step\n", registry);
  if (failed(result) && !path.empty() && llvm::sys::fs::exists(path))
    llvm::errs() << "to replay: mk-opt --allow-unregistered-dialect --run-reproducer " << path
                 << "\n";
  return mlir::asMainReturnCode(result);
}
