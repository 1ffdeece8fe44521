# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

import os

import lit.formats

config.name = "mk"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["python", "Inputs"]  # python is pytest's
config.test_source_root = os.path.join(config.mk_source_dir, "test")
config.test_exec_root = os.path.join(config.mk_build_dir, "test")

tools = [os.path.join(config.mk_build_dir, "bin"), config.llvm_tools_dir]
config.environment["PATH"] = os.pathsep.join([*tools, os.environ.get("PATH", "")])
config.environment["FILECHECK_OPTS"] = "-enable-var-scope -dump-input=fail"

# A missing tool is an error, not a skipped test.
for tool in ("mk-opt", "FileCheck", "not"):
    path = next((p for d in tools if os.path.exists(p := os.path.join(d, tool))), None)
    if path is None:
        lit_config.fatal(f"{tool} is missing: run ./dev build")
    config.substitutions.append((f"%{tool}", path))
