// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The physical cores that this process may use. Two threads of one core share its memory pipes, so
// a second worker on a core brings nothing.

#include "runtime/cpu/Runtime.h"

#include <cstdio>
#include <sched.h>
#include <unistd.h>

/// The lowest logical CPU of the core of `cpu`; `cpu` itself if the kernel does not say.
static int firstSibling(int cpu) {
  char path[128];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
  FILE *file = fopen(path, "re");
  if (!file)
    return cpu;
  int first = cpu;
  if (fscanf(file, "%d", &first) != 1)
    first = cpu;
  fclose(file);
  return first;
}

int32_t mk_cores(int32_t *cpus, int32_t capacity) {
  // The kernel may know more CPUs than cpu_set_t has room for: grow until its mask fits.
  for (int size = 1024; size <= (1 << 20); size *= 2) {
    cpu_set_t *allowed = CPU_ALLOC(size);
    size_t bytes = CPU_ALLOC_SIZE(size);
    if (!allowed || sched_getaffinity(0, bytes, allowed) != 0) {
      CPU_FREE(allowed);
      continue;
    }
    int32_t count = 0;
    for (int cpu = 0; cpu < size; ++cpu) {
      if (!CPU_ISSET_S(cpu, bytes, allowed))
        continue;
      // An allowed sibling with a lower number stands for the core already.
      int first = firstSibling(cpu);
      bool taken = first < cpu && CPU_ISSET_S(first, bytes, allowed);
      if (taken)
        continue;
      if (count < capacity)
        cpus[count] = cpu;
      ++count;
    }
    CPU_FREE(allowed);
    return count;
  }
  if (capacity > 0)
    cpus[0] = 0;
  return 1;
}
