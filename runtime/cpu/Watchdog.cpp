// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Turns a hang into an error. A proven schedule cannot hang, so this is for what the proof does not
// cover: a damaged table, a broken machine.
//
// An overdue wait calls the hook now and then. Whoever calls looks, at most every sixteenth of the
// limit, at the sum of all event counters and the step. The engine has stalled once sixteen looks
// in a row saw the same sum and every worker waiting. Counting looks instead of seconds is what
// survives a suspended or stopped machine: it makes one look late, not sixteen. A worker that is
// inside a long task, or that a busy machine has not let begin yet, calls nothing and so counts as
// working; the others then wait `kWorkingFactor` times as long.
//
// Generated code cannot be unwound, so the workers of a stalled engine are parked for good and the
// host is told.

#include "runtime/cpu/Engine.h"

#include <sched.h>
#include <unistd.h>

using namespace mk;

static constexpr int kLooks = 16;
static constexpr int kWorkingFactor = 60;

static uint64_t counterSum(const MkEngine &engine) {
  auto *counters = reinterpret_cast<uint64_t *>(engine.context[context_events]);
  uint64_t sum = __atomic_load_n(&engine.context[context_step], __ATOMIC_RELAXED);
  for (int64_t event = 0; event < engine.events; ++event)
    sum += __atomic_load_n(counters + event * 8, __ATOMIC_RELAXED);
  return sum; // counters only grow, so any progress changes the sum
}

static bool allWaiting(const MkEngine &engine, Nanoseconds time) {
  uint32_t run = engine.run;
  for (size_t worker = 0; worker < engine.threads.size(); ++worker) {
    const WorkerState &state = engine.states[worker];
    bool waits = state.begun == run && time - state.lastCall <= engine.stallLimit / 4;
    if (state.returned != run && !waits)
      return false;
  }
  return true;
}

static void look(MkEngine &engine, Nanoseconds time) {
  Watch &watch = engine.watch;
  uint64_t progress = counterSum(engine);
  bool quiet = progress == watch.progress;
  watch.progress = progress;
  watch.quietLooks = quiet ? watch.quietLooks + 1 : 0;
  watch.waitingLooks = quiet && allWaiting(engine, time) ? watch.waitingLooks + 1 : 0;
  if (watch.waitingLooks >= kLooks || watch.quietLooks >= kLooks * kWorkingFactor) {
    engine.stalled = true;
    futexWakeAll(engine.ended);
  }
}

void mk::yieldHook(void *context, int32_t worker, int32_t event) {
  auto &engine = *static_cast<MkEngine *>(context);
  WorkerState &state = engine.states[worker];
  Nanoseconds time = now();
  state.event.store(event, std::memory_order_relaxed);
  state.lastCall.store(time, std::memory_order_relaxed);
  if (engine.stallLimit > 0 && time >= engine.watch.nextLook && !engine.watch.busy.exchange(true)) {
    if (time >= engine.watch.nextLook) { // nobody looked in between
      engine.watch.nextLook = time + engine.stallLimit / kLooks;
      look(engine, time);
    }
    engine.watch.busy = false;
  }
  while (engine.stalled)
    pause();
  sched_yield();
}
