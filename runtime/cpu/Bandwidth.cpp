// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What this machine can read per second now: the ceiling that a decode step is compared with.
// Measured the way a program reads its weights, one linear stream per pinned thread.

#include "runtime/cpu/Numbers.h"
#include "runtime/cpu/Runtime.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <sched.h>
#include <system_error>
#include <thread>
#include <vector>

MK_CLONES static uint64_t sum(const uint64_t *words, int64_t count) {
  uint64_t sums[32] = {};
  for (int64_t i = 0; i + 32 <= count; i += 32)
    for (int64_t k = 0; k < 32; ++k)
      sums[k] += words[i + k];
  uint64_t total = 0;
  for (uint64_t part : sums)
    total += part;
  return total;
}

double mk_read_bandwidth(int64_t bytes, int32_t threads, double seconds) {
  threads = std::max(threads, 1);
  auto *words = static_cast<uint64_t *>(mk_alloc(bytes));
  if (!words)
    return 0;
  std::vector<int32_t> cpus(std::max(threads, mk_cores(nullptr, 0)));
  int32_t cores = mk_cores(cpus.data(), int32_t(cpus.size()));
  int64_t share = bytes / 8 / threads;
  constexpr int64_t kChunk = int64_t(1) << 17; // 1 MiB between looks at the clock
  using Clock = std::chrono::steady_clock;
  std::atomic<int> ready{0};
  std::atomic<uint64_t> sink{0};
  std::atomic<int64_t> read{0}, nanoseconds{0};
  auto stream = [&](int t) {
    if (threads <= cores) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpus[t], &one);
      sched_setaffinity(0, sizeof one, &one);
    }
    uint64_t *mine = words + t * share;
    std::fill(mine, mine + share, uint64_t(t)); // one's own pages, really there
    ready.fetch_add(1);
    while (ready.load() < threads)
      std::this_thread::yield();
    auto begin = Clock::now(), end = begin + std::chrono::nanoseconds(int64_t(seconds * 1e9)),
         now = begin;
    uint64_t total = 0;
    int64_t done = 0;
    for (int64_t at = 0; now < end;
         at = at + kChunk < share ? at + kChunk : 0, now = Clock::now()) {
      int64_t count = std::min(kChunk, share - at);
      total += sum(mine + at, count);
      done += count * 8;
    }
    sink += total;
    read += done;
    nanoseconds += std::chrono::nanoseconds(now - begin).count();
  };
  std::vector<std::thread> team;
  for (int t = 0; t < threads; ++t) {
    try {
      team.emplace_back(stream, t);
    } catch (const std::system_error &) {
      ready.fetch_add(1); // the others measure without it
    }
  }
  for (std::thread &thread : team)
    thread.join();
  mk_free(words, bytes);
  return nanoseconds ? double(read) * 1e9 * double(team.size()) / double(nanoseconds) : 0;
}
