// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_RUNTIME_CPU_CODE_H
#define MK_RUNTIME_CPU_CODE_H

#include "runtime/cpu/Runtime.h"

using EntryFunction = void (*)(void *context, int32_t worker);

/// A loaded library. `file` stays open as long as it: dlopen knows a library by its path, so a
/// second one must not get the same number.
struct MkCode {
  void *library;
  int file;
  EntryFunction main;
};

#endif // MK_RUNTIME_CPU_CODE_H
