// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loads the machine code of a program. It is a shared library in a package, never a file of its
// own: an anonymous memory file gives dlopen a path without writing anything to a disk.

#include "Code.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

static bool writeAll(int file, const char *bytes, int64_t size) {
  while (size > 0) {
    ssize_t written = write(file, bytes, size);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return false;
    bytes += written;
    size -= written;
  }
  return true;
}

MkCode *mk_code_load(const void *bytes, int64_t size, const char *entry, char *error,
                     int64_t errorSize) {
  int file = memfd_create("mk-code", MFD_CLOEXEC);
  if (file < 0 || !writeAll(file, static_cast<const char *>(bytes), size)) {
    snprintf(error, errorSize, "cannot hold the code in memory: %s", strerror(errno));
    if (file >= 0)
      close(file);
    return nullptr;
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(error, errorSize, "%s", dlerror());
    close(file);
    return nullptr;
  }
  void *main = dlsym(library, entry);
  auto *code = main ? new (std::nothrow)
                          MkCode{library, file, reinterpret_cast<EntryFunction>(main)}
                    : nullptr;
  if (!code) {
    snprintf(error, errorSize, "no function '%s' in the code", entry);
    dlclose(library);
    close(file);
  }
  return code;
}

void mk_code_unload(MkCode *code) {
  dlclose(code->library);
  close(code->file);
  delete code;
}
