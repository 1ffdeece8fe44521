// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One number for the ABI that this runtime was built with; a package made for another one is
// refused. Python computes the same number from a package's manifest (python/mk/runtime/abi.py).

#include "runtime/cpu/Runtime.h"

uint64_t mk_abi_hash() {
  static const char *const fields[] = {
#define MK_INSTRUCTION(name, index, doc) "instruction " #name " " #index "\n",
#include "runtime/abi/Abi.def"
#define MK_CONTEXT(name, index, doc) "context " #name " " #index "\n",
#include "runtime/abi/Abi.def"
#define MK_REQUEST(name, type, count, doc) "request " #name " " #type "\n",
#include "runtime/abi/Abi.def"
  };
  uint64_t hash = 0xcbf29ce484222325; // FNV-1a
  for (const char *field : fields)
    for (; *field; ++field)
      hash = (hash ^ uint8_t(*field)) * 0x100000001b3;
  return hash;
}
