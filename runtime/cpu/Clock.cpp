// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Programs that note times read the processor's counter: one instruction, and no function that the
// code would have to find. What its ticks are worth shows in two readings of it and of the clock.

#include "runtime/cpu/Engine.h"

using namespace mk;

/// What `llvm.readcyclecounter` reads; programs for other processors note no times.
static int64_t ticks() {
#if defined(__x86_64__)
  return int64_t(__builtin_ia32_rdtsc());
#else
  return 0;
#endif
}

void mk_read_clocks(int64_t *counter, int64_t *nanoseconds) {
  // Another thread may have the core between the two: the closest of some pairs.
  int64_t best = INT64_MAX;
  for (int i = 0; i < 16; ++i) {
    int64_t before = now(), between = ticks(), width = now() - before;
    if (width >= best)
      continue;
    best = width;
    *counter = between;
    *nanoseconds = before + width / 2;
  }
}
