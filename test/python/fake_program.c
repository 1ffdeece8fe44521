// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A program by hand, for tests of the runtime without the compiler: it follows runtime/abi/Abi.def with two workers and
// a "model" whose logits a test can compute. Places in the request block come as macros (see fake_program.py).

#include <stdint.h>
#include <time.h>

enum { kTable, kInstructions, kEvents, kStream, kParams, kActivations, kKv, kRequest, kStep = 10, kYield = 13 };
enum { kAppended, kFinished }; // events: the cache is written; a worker's half of the logits is

typedef void (*Yield)(void *context, int32_t worker, int32_t event);

#define ARRAY(type, name) ((type *)((char *)context[kRequest] + AT_##name))

static uint64_t load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static uint64_t *counter(const uint64_t *context, int event) { return (uint64_t *)context[kEvents] + 8 * event; }

static void await(uint64_t *context, int32_t worker, int32_t event, const uint64_t *word, uint64_t threshold) {
  for (uint64_t spins = 1; load(word) < threshold; ++spins)
    if (spins % 256 == 0)
      ((Yield)context[kYield])(context, worker, event);
}

// The cache holds one number for each token; page p of the pool is a block of 2 * PAGE floats.
static float *cell(const uint64_t *context, int32_t slot, int32_t position) {
  int32_t page = ARRAY(int32_t, page_table)[slot * (MAX_LENGTH / PAGE) + position / PAGE];
  return (float *)context[kKv] + page * 2 * PAGE + position % PAGE;
}

static void append(const uint64_t *context) {
  for (int32_t n = 0; n < *ARRAY(int32_t, n_tokens); ++n) {
    int32_t position = ARRAY(int32_t, positions)[n];
    *cell(context, ARRAY(int32_t, slots)[n], position) = (ARRAY(int32_t, tokens)[n] * 31 + position * 7) % 101;
  }
}

static float weight(const uint64_t *context, int32_t v, int32_t k) {
  // Tile [K][2 groups][4 lanes]; a tile's place comes from the table's first instruction of each worker.
  int32_t tile = v / 8, place = ((int32_t *)context[kTable])[tile * (int32_t)context[kInstructions] * 32 + 15];
  return ((float *)((char *)context[kStream] + 64 * place))[k * 8 + v % 8];
}

static void logits(const uint64_t *context, int32_t worker) {
  const float *bias = (const float *)((char *)context[kParams] + BIAS);
  for (int32_t r = 0; r < *ARRAY(int32_t, n_rows); ++r) {
    int32_t n = ARRAY(int32_t, rows)[r];
    long sum = 0;
    for (int32_t p = 0; p <= ARRAY(int32_t, positions)[n]; ++p)
      sum += (long)*cell(context, ARRAY(int32_t, slots)[n], p);
    float *row = (float *)((char *)context[kActivations] + LOGITS + r * PITCH);
    for (int32_t v = worker * 8; v < VOCABULARY && v < worker * 8 + 8; ++v)
      row[v] = (float)(sum * (v + 3) % 97) + bias[v] + weight(context, v, 0) + 2 * weight(context, v, 1);
  }
}

static int32_t draw(const uint64_t *context, int32_t r) {
  const float *row = (const float *)((char *)context[kActivations] + LOGITS + r * PITCH);
  int32_t best = 0;
  for (int32_t v = 1; v < VOCABULARY; ++v)
    if (row[v] > row[best])
      best = v;
  // Not a distribution: a way to see that the numbers arrive.
  return ARRAY(float, temperature)[r] > 0 ? (best + ARRAY(int32_t, seed)[r] + ARRAY(int32_t, top_k)[r]) % VOCABULARY : best;
}

static int isStop(const uint64_t *context, int32_t token) {
  for (int32_t i = 0; i < *ARRAY(int32_t, n_stops); ++i)
    if (ARRAY(int32_t, stops)[i] == token)
      return 1;
  return 0;
}

static void advance(uint64_t *context) {
  int32_t kept = 0, n_rows = *ARRAY(int32_t, n_rows);
  int64_t posted = *ARRAY(int64_t, mailbox_count);
  int32_t cancelled = __atomic_load_n(ARRAY(int32_t, cancel), __ATOMIC_RELAXED);
  for (int32_t r = 0; r < n_rows; ++r) {
    int32_t token = draw(context, r), n = ARRAY(int32_t, rows)[r];
    int32_t slot = ARRAY(int32_t, slots)[n], position = ARRAY(int32_t, positions)[n] + 1;
    ARRAY(int32_t, mailbox)[2 * posted] = slot;
    ARRAY(int32_t, mailbox)[2 * posted + 1] = token;
    __atomic_store_n(ARRAY(int64_t, mailbox_count), ++posted, __ATOMIC_RELEASE);
    if (isStop(context, token) || --ARRAY(int32_t, remaining)[r] <= 0 || cancelled)
      continue;
    ARRAY(int32_t, tokens)[kept] = token;
    ARRAY(int32_t, positions)[kept] = position;
    ARRAY(int32_t, slots)[kept] = slot;
    ARRAY(int32_t, remaining)[kept] = ARRAY(int32_t, remaining)[r];
    ARRAY(int32_t, rows)[kept] = kept;
    ++kept;
  }
  *ARRAY(int32_t, n_tokens) = *ARRAY(int32_t, n_rows) = kept;
  if (--*ARRAY(int32_t, steps) <= 0 || kept == 0 || cancelled)
    *ARRAY(int32_t, running) = 0;
}

void mk_main(void *words, int32_t worker) {
  uint64_t *context = words;
  const float *control = (const float *)((char *)context[kParams] + CONTROL); // [microseconds of a step, step that hangs]
  for (uint64_t step = load(&context[kStep]); *ARRAY(int32_t, running); ++step) {
    if (worker == 0) {
      append(context);
      __atomic_fetch_add(counter(context, kAppended), 1, __ATOMIC_RELEASE);
    }
    await(context, worker, kAppended, counter(context, kAppended), step + 1);
    logits(context, worker);
    struct timespec pause = {0, (long)control[0] * 1000};
    if (control[0] > 0)
      nanosleep(&pause, 0);
    if (worker == 0 || control[1] < 0 || step != (uint64_t)control[1])
      __atomic_fetch_add(counter(context, kFinished), 1, __ATOMIC_RELEASE);
    if (worker == 0) {
      await(context, worker, kFinished, counter(context, kFinished), 2 * (step + 1));
      advance(context);
      __atomic_store_n(&context[kStep], step + 1, __ATOMIC_RELEASE);
    }
    await(context, worker, kFinished, &context[kStep], step + 1);
  }
}
