// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Persistent worker threads and how the host starts and awaits them. Between runs a worker spins
// for a moment, so that the next step of a busy caller begins within microseconds, then sleeps, so
// that an idle engine costs nothing.

#include "runtime/cpu/Engine.h"

#include <algorithm>
#include <climits>
#include <ctime>
#include <linux/futex.h>
#include <new>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

using namespace mk;

static constexpr Nanoseconds kHotSpin = 20'000; // without a system call
static constexpr Nanoseconds kSpin = 1'500'000; // giving way to others, before a worker sleeps

Nanoseconds mk::now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * Nanoseconds(1'000'000'000) + time.tv_nsec;
}

void mk::futexWait(std::atomic<uint32_t> &word, uint32_t expected, Nanoseconds timeout) {
  timespec time{timeout / 1'000'000'000, timeout % 1'000'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, timeout < 0 ? nullptr : &time, nullptr,
          0);
}

void mk::futexWakeAll(std::atomic<uint32_t> &word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

static inline void pauseCore() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Returns once a run after number `seen` was started, or the engine closes.
static void awaitRun(MkEngine &engine, uint32_t seen) {
  auto started = [&] {
    return engine.run.load(std::memory_order_acquire) != seen || engine.closing;
  };
  Nanoseconds begin = now(), spent = 0;
  for (; spent < kSpin; spent = now() - begin) {
    for (int i = 0; i < 16; ++i) {
      if (started())
        return;
      pauseCore();
    }
    if (engine.crowded || spent > kHotSpin)
      sched_yield();
  }
  // The host looks at `sleepers` after it has raised `run`, a sleeper at `run` after it has raised
  // `sleepers`: one of them sees the other (both sequentially consistent).
  engine.sleepers.fetch_add(1);
  while (engine.run.load() == seen && !engine.closing)
    futexWait(engine.run, seen, -1);
  engine.sleepers.fetch_sub(1);
}

static void workerLoop(MkEngine *engine, int32_t worker) {
  WorkerState &state = engine->states[worker];
  for (uint32_t seen = 0;;) {
    awaitRun(*engine, seen);
    if (engine->closing)
      return;
    ++seen;
    state.event = -1;
    state.lastCall = 0;
    state.begun = seen;
    engine->code->main(engine->context, worker);
    state.returned = seen;
    // The last one out has, through this counter, seen everything that the others wrote; so has
    // then the host.
    if (engine->left.fetch_sub(1) == 1) {
      engine->ended.store(seen);
      futexWakeAll(engine->ended);
    }
  }
}

static void pin(std::thread &thread, int cpu) {
  size_t bytes = CPU_ALLOC_SIZE(cpu + 1);
  cpu_set_t *one = CPU_ALLOC(cpu + 1);
  if (!one)
    return;
  CPU_ZERO_S(bytes, one);
  CPU_SET_S(cpu, bytes, one);
  pthread_setaffinity_np(thread.native_handle(), bytes, one); // a failure costs speed only
  CPU_FREE(one);
}

MkEngine *mk_engine_create(MkCode *code, const uint64_t *context, int64_t events, int32_t workers,
                           double stallSeconds) {
  auto *engine = new (std::nothrow) MkEngine();
  if (!engine)
    return nullptr;
  std::copy_n(context, context_words, engine->context);
  engine->context[context_yield] = reinterpret_cast<uint64_t>(&yieldHook);
  engine->code = code;
  engine->events = events;
  engine->stallLimit = Nanoseconds(stallSeconds * 1e9);
  engine->states.reset(new (std::nothrow) WorkerState[workers]);
  std::vector<int32_t> cpus(std::max(mk_cores(nullptr, 0), 1));
  int32_t cores = mk_cores(cpus.data(), int32_t(cpus.size()));
  engine->crowded = workers > cores;
  try {
    for (int32_t worker = 0; engine->states && worker < workers; ++worker) {
      engine->threads.emplace_back(workerLoop, engine, worker);
      if (!engine->crowded)
        pin(engine->threads.back(), cpus[worker]);
      pthread_setname_np(engine->threads.back().native_handle(), "mk-worker");
    }
  } catch (const std::system_error &) {
  }
  if (int32_t(engine->threads.size()) == workers)
    return engine;
  mk_engine_destroy(engine);
  return nullptr;
}

uint64_t *mk_engine_context(MkEngine *engine) { return engine->context; }

void mk_engine_start(MkEngine *engine) {
  engine->watch.quietLooks = engine->watch.waitingLooks = 0;
  engine->left.store(uint32_t(engine->threads.size()));
  engine->run.fetch_add(1); // releases the request that the host has written
  if (engine->sleepers.load())
    futexWakeAll(engine->run);
}

int32_t mk_engine_wait(MkEngine *engine, double timeout) {
  Nanoseconds end = now() + Nanoseconds(timeout * 1e9);
  for (;;) {
    uint32_t ended = engine->ended.load();
    if (ended == engine->run.load())
      return runEnded;
    if (engine->stalled)
      return runStalled;
    Nanoseconds rest = end - now();
    if (rest <= 0)
      return runTimeout;
    futexWait(engine->ended, ended, rest);
  }
}

int32_t mk_engine_wait_tokens(MkEngine *engine, const int64_t *count, int64_t seen,
                              double timeout) {
  // The workers own all cores: looking too often would take them from the model. Looking every
  // eighth of the time already waited costs next to nothing and adds at most an eighth to a token's
  // latency.
  constexpr Nanoseconds kShortest = 20'000, kLongest = 1'000'000;
  Nanoseconds begin = now(), end = begin + Nanoseconds(timeout * 1e9);
  for (;;) {
    uint32_t ended = engine->ended.load();
    if (__atomic_load_n(count, __ATOMIC_ACQUIRE) != seen)
      return runTokens;
    if (ended == engine->run.load())
      return runEnded;
    if (engine->stalled)
      return runStalled;
    Nanoseconds time = now();
    if (time >= end)
      return runTimeout;
    futexWait(engine->ended, ended,
              std::min(std::clamp((time - begin) / 8, kShortest, kLongest), end - time));
  }
}

void mk_engine_waiting(MkEngine *engine, int32_t *events) {
  for (size_t worker = 0; worker < engine->threads.size(); ++worker)
    events[worker] = engine->states[worker].begun != engine->states[worker].returned
                         ? engine->states[worker].event.load()
                         : -1;
}

int32_t mk_engine_destroy(MkEngine *engine) {
  if (engine->stalled) {
    for (std::thread &thread : engine->threads)
      thread.detach();
    return 1; // parked threads still use the engine
  }
  // Raising `run` as well is what wakes a worker that has looked at `closing` but does not sleep
  // yet: the kernel lets it sleep only while `run` is what it saw.
  engine->closing = true;
  engine->run.fetch_add(1);
  futexWakeAll(engine->run);
  for (std::thread &thread : engine->threads)
    thread.join();
  delete engine;
  return 0;
}
