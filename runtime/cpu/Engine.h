// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_RUNTIME_CPU_ENGINE_H
#define MK_RUNTIME_CPU_ENGINE_H

#include "runtime/cpu/Code.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace mk {

using Nanoseconds = int64_t;
Nanoseconds now(); // of a clock that stands still while the machine is suspended

/// Blocks while `*word == expected`, at most `timeout` (negative: for ever).
void futexWait(std::atomic<uint32_t> &word, uint32_t expected, Nanoseconds timeout);
void futexWakeAll(std::atomic<uint32_t> &word);

/// What the watchdog knows of a worker: written by it, read by whichever worker looks.
struct alignas(64) WorkerState {
  std::atomic<int32_t> event{-1};       // that it waits for
  std::atomic<Nanoseconds> lastCall{0}; // of the yield hook
  std::atomic<uint32_t> begun{0};       // runs whose entry it has called
  std::atomic<uint32_t> returned{0};    // runs whose entry has returned
};

/// The watchdog's memory; only the holder of `busy` touches the rest.
struct Watch {
  std::atomic<bool> busy{false};
  std::atomic<Nanoseconds> nextLook{0};
  uint64_t progress = 0; // sum of all counters at the last look
  int quietLooks = 0;    // in a row, without progress
  int waitingLooks = 0;  // in a row, without progress and with every worker waiting
};

} // namespace mk

struct MkEngine {
  /// First, so that the hook finds its engine from the address that the code passes.
  alignas(64) uint64_t context[mk::context_words];
  MkCode *code;
  int64_t events;
  mk::Nanoseconds stallLimit;
  bool crowded; // more workers than cores: waiting must give the core away at once

  alignas(64) std::atomic<uint32_t> run{
      0}; // counts the runs that were started; the workers sleep on it
  std::atomic<uint32_t> sleepers{0};
  std::atomic<bool> closing{false};
  alignas(64) std::atomic<uint32_t> left{0}; // workers that have not ended the present run
  std::atomic<uint32_t> ended{0};            // runs that have ended; the host sleeps on it
  std::atomic<bool> stalled{false};

  mk::Watch watch;
  std::unique_ptr<mk::WorkerState[]> states;
  std::vector<std::thread> threads;
};

namespace mk {
/// The `yield` word of a context. See Watchdog.cpp.
void yieldHook(void *context, int32_t worker, int32_t event);
} // namespace mk

#endif // MK_RUNTIME_CPU_ENGINE_H
