// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// lld as a library: a machine that only compiles models needs no tool chain.

#include "python/bindings/MkC.h"

#include "lld/Common/Driver.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <mutex>

LLD_HAS_DRIVER(elf)

using namespace llvm;

static MlirStringRef toC(StringRef text) { return mlirStringRefCreate(text.data(), text.size()); }

/// lld works on files and keeps its state in globals: one link at a time, and none after a crash.
static std::mutex lldMutex;
static bool lldUsable = true;

bool mkLinkObject(MlirStringRef object, MlirStringCallback library, MlirStringCallback error,
                  void *userData) {
  auto fail = [&](const Twine &message) {
    error(toC(message.str()), userData);
    return false;
  };
  std::lock_guard<std::mutex> lock(lldMutex);
  if (!lldUsable)
    return fail("the linker crashed earlier in this process; start a new one");
  SmallString<128> input, output;
  int inputFile = -1;
  if (std::error_code code = sys::fs::createTemporaryFile("mk", "o", inputFile, input))
    return fail("cannot create a temporary file: " + code.message());
  FileRemover removeInput(input);
  raw_fd_ostream stream(inputFile, /*shouldClose=*/true);
  stream.write(object.data, object.length);
  stream.close();
  if (stream.has_error()) {
    std::string message = stream.error().message();
    stream.clear_error();
    return fail("cannot write " + input + ": " + message);
  }
  if (std::error_code code = sys::fs::createTemporaryFile("mk", "so", output))
    return fail("cannot create a temporary file: " + code.message());
  FileRemover removeOutput(output);

  // One thread: the object is small, and the caller may be one of many threads.
  const char *arguments[] = {"ld.lld", "-shared",      "--threads=1", "-z",
                             "now",    "-z",           "noexecstack", "--build-id=none",
                             "-o",     output.c_str(), input.c_str()};
  std::string messages;
  raw_string_ostream messageStream(messages);
  lld::Result result =
      lld::lldMain(arguments, messageStream, messageStream, {{lld::Gnu, &lld::elf::link}});
  lldUsable = result.canRunAgain;
  if (result.retCode != 0)
    return fail(StringRef(messages).trim());
  ErrorOr<std::unique_ptr<MemoryBuffer>> bytes =
      MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!bytes)
    return fail("cannot read " + output + ": " + bytes.getError().message());
  library(toC((*bytes)->getBuffer()), userData);
  return true;
}
