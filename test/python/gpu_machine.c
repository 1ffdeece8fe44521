// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A GPU for tests, as far as generated kernels see it: gpu_machine.py replaces what only a GPU has by calls of these
// functions. Every thread is a fiber of one thread of this process; which of those that can go on does so is drawn
// at random. A bulk copy spoils its slot at once and brings the bytes some time later. What cannot go on for good, such
// as a shuffle of half a warp or a wait that nobody ends, is an error.
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { WARP = 32, STACK = 1 << 17, WORDS = 10, MOST_IDLE = 10000000 };

typedef struct {
  uint32_t words[2][WARP][WORDS]; // of this collective and the one before
  uint32_t generation, arrived;
  uint32_t pairs[WARP / 2][2][2], pairGeneration[WARP / 2], pairArrived[WARP / 2];
  const char *what;
} Warp;
typedef struct { uint32_t generation, arrived; } Barrier;
typedef struct {
  unsigned char *shared;
  Warp *warps;
  Barrier barriers[16];
} Cta;
typedef struct {
  ucontext_t context; // where it begins
  jmp_buf place;      // where it goes on: a switch without a call of the system
  int cta, thread, started;
  float sums[4];
  int32_t columns[4];
} Fiber;
typedef struct { uint16_t expected, pending; int32_t bytes : 31; uint32_t phase : 1; } Mbarrier;
typedef struct {
  unsigned char *to;
  const unsigned char *from;
  int32_t bytes;
  Mbarrier *done;
  const Fiber *by; // of a thread, whose arrivals come behind its copies; NULL: of the copy engine
} Copy;

static Cta *ctas;
static Fiber *fibers, *self;
static ucontext_t outside;
static jmp_buf scheduler;
static int *ready, readyCount, threadsOfCta, sharedBytes;
static Copy copies[1 << 18];
static int copyCount;
static uint64_t seed, progress, waited;
static const char *fault;
static void (*entry)(void *);
static void *argument;

static uint32_t draw(uint32_t below) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32) % below;
}

static void leave(void) {
  if (!_setjmp(self->place))
    _longjmp(scheduler, 1);
}
static void resume(Fiber *fiber) {
  self = fiber;
  if (_setjmp(scheduler))
    return;
  if (fiber->started++)
    _longjmp(fiber->place, 1);
  swapcontext(&outside, &fiber->context);
}
static void later(void) { // looks again some time
  ready[readyCount++] = (int)(self - fibers);
  leave();
}
static void wake(int cta, int first, int count) {
  for (int i = 0; i < count; ++i)
    if (cta * threadsOfCta + first + i != self - fibers)
      ready[readyCount++] = cta * threadsOfCta + first + i;
  ++progress;
}
static void fail(const char *what) {
  if (!fault)
    fault = what;
  for (;;)
    leave();
}

// ------------------------------------------------------------------------------------------------- warps and barriers

/// Gives the words of all lanes, when all have come to the same place.
static uint32_t (*exchange(const char *what, const uint32_t *words, int count))[WORDS] {
  int lane = self->thread % WARP, first = self->thread - lane;
  Warp *warp = &ctas[self->cta].warps[first / WARP];
  if (!warp->arrived)
    warp->what = what;
  else if (strcmp(warp->what, what))
    fail("the lanes of a warp are at different collectives");
  uint32_t(*slot)[WORDS] = warp->words[warp->generation % 2];
  memcpy(slot[lane], words, 4 * (size_t)count);
  if (++warp->arrived < WARP) {
    leave();
  } else {
    warp->arrived = 0;
    ++warp->generation;
    wake(self->cta, first, WARP);
  }
  return slot;
}

int32_t gpu_shfl_idx(int32_t members, int32_t value, int32_t lane) {
  if (members != -1)
    fail("a shuffle of a part of a warp that is no pair");
  return (int32_t)exchange("idx", (uint32_t *)&value, 1)[lane][0];
}
/// Of the whole warp, or of two lanes side by side.
int32_t gpu_shfl_bfly(int32_t members, int32_t value, int32_t mask) {
  int lane = self->thread % WARP, pair = lane / 2;
  if (members == -1)
    return (int32_t)exchange("bfly", (uint32_t *)&value, 1)[lane ^ mask][0];
  if ((uint32_t)members != 3u << 2 * pair || mask != 1)
    fail("a shuffle of a part of a warp that is no pair");
  Warp *warp = &ctas[self->cta].warps[self->thread / WARP];
  uint32_t *slot = warp->pairs[pair][warp->pairGeneration[pair] % 2];
  slot[lane % 2] = (uint32_t)value;
  if (++warp->pairArrived[pair] < 2) {
    leave();
  } else {
    warp->pairArrived[pair] = 0;
    ++warp->pairGeneration[pair];
    wake(self->cta, self->thread - lane % 2, 2);
  }
  return (int32_t)slot[1 - lane % 2];
}
void gpu_warp(void) { exchange("warp", NULL, 0); }
int32_t gpu_ballot(int32_t bit) {
  uint32_t word = bit & 1, result = 0, (*all)[WORDS] = exchange("ballot", &word, 1);
  for (int lane = 0; lane < WARP; ++lane)
    result |= all[lane][0] << lane;
  return (int32_t)result;
}

void gpu_barrier(int32_t id, int32_t threads) {
  Barrier *barrier = &ctas[self->cta].barriers[id];
  if (++barrier->arrived < (uint32_t)threads) {
    leave();
    return;
  }
  barrier->arrived = 0;
  // All threads, the consumers, which are the first ones, or a team of them.
  wake(self->cta, self->thread / threads * threads, threads);
}
void gpu_barrier_all(void) { gpu_barrier(0, threadsOfCta); }

// ---------------------------------------------------------------------------------------------------------- the ring

int64_t gpu_clock(void);
static Mbarrier *mbarrier(int32_t address) { return (Mbarrier *)(uintptr_t)(uint32_t)address; }
static void settle(Mbarrier *b) {
  if (b->pending || b->bytes)
    return;
  b->pending = b->expected;
  b->phase ^= 1;
  ++progress;
}
void gpu_mbarrier_init(int32_t address, int32_t count) {
  *mbarrier(address) = (Mbarrier){(uint16_t)count, (uint16_t)count, 0, 0};
}
static void arrive(Mbarrier *b) {
  if (!b->pending--) {
    b->pending = 0;
    fault = "more arrivals at an mbarrier than it expects";
  }
  settle(b);
}
void gpu_mbarrier_arrive(int32_t address) { arrive(mbarrier(address)); }
void gpu_release(int32_t address, int32_t lane) { // of a warp, by its first lane
  if (!lane)
    gpu_mbarrier_arrive(address);
}
void gpu_stall(int64_t line, int64_t number, int64_t event, int64_t seen);
static volatile int32_t *word(int32_t address) { return (volatile int32_t *)(uintptr_t)(uint32_t)address; }
/// A thread's wait for others of its CTA: until `quit`, if there is one, or until it is overdue.
typedef struct { int64_t limit, stall; int32_t worker, number, event, seen, overdue, quit; int64_t begin; } Watch;
static int leaves(Watch *watch) {
  if (watch->quit && *word(watch->quit))
    return 1;
  int64_t limit = watch->event == -7 ? watch->limit : 2 * watch->limit; // of the loader
  if (!watch->begin)
    watch->begin = gpu_clock();
  if (!watch->limit || gpu_clock() - watch->begin < limit) {
    later();
    return 0;
  }
  if (!*word(watch->overdue)) {
    *word(watch->overdue) = 1;
    gpu_stall(watch->stall + 32 * watch->worker, watch->number, watch->event, watch->seen);
  }
  return 1;
}
static int32_t await(int32_t address, int32_t parity, Watch watch) {
  while (mbarrier(address)->phase == (uint32_t)parity)
    if (leaves(&watch))
      return 0;
  return 1;
}
int32_t gpu_await(int32_t address, int32_t parity, int64_t limit, int32_t overdue, int64_t stall, int32_t worker,
                  int32_t number, int32_t event, int32_t seen) {
  return await(address, parity, (Watch){limit, stall, worker, number, event, seen, overdue, 0, 0});
}
int32_t gpu_await_or(int32_t address, int32_t parity, int32_t quit, int64_t limit, int32_t overdue, int64_t stall,
                     int32_t worker, int32_t number, int32_t event, int32_t seen) {
  return await(address, parity, (Watch){limit, stall, worker, number, event, seen, overdue, quit, 0});
}
/// Of the consumers, for a slot: others look at the clock.
int32_t gpu_await_told(int32_t address, int32_t parity, int32_t quit) {
  for (; mbarrier(address)->phase == (uint32_t)parity; later())
    if (*word(quit))
      return 0;
  return 1;
}
int32_t gpu_await_timed(int32_t address, int32_t parity, int32_t sum, int32_t thread, int32_t quit) {
  int64_t begin = gpu_clock();
  int32_t came = gpu_await_told(address, parity, quit);
  if (came && !thread)
    *word(sum) += (int32_t)(gpu_clock() - begin);
  return came;
}
void gpu_copy(int32_t barrier, int32_t slot, int64_t source, int32_t bytes) {
  Copy copy = {(unsigned char *)(uintptr_t)(uint32_t)slot, (unsigned char *)source, bytes, mbarrier(barrier), NULL};
  if (bytes <= 0 || bytes % 16 || (slot | source) % 16)
    fail("a bulk copy is not of multiples of 16 bytes");
  memset(copy.to, 0xFF, (size_t)bytes);
  copies[copyCount++] = copy;
}
void gpu_announce(int32_t barrier, int32_t bytes, int32_t lane) { // of a warp, by its first lane
  if (lane)
    return;
  mbarrier(barrier)->bytes += bytes;
  gpu_mbarrier_arrive(barrier);
}
int64_t gpu_filled; // bytes of weights that loaders have asked for so far
void gpu_fill(int32_t barrier, int32_t slot, int64_t source, int32_t bytes, int32_t lane) {
  if (!lane) {
    gpu_copy(barrier, slot, source, bytes);
    gpu_filled += bytes;
  }
  gpu_announce(barrier, bytes, lane);
}
/// Of one thread, 16 bytes; and its arrival when all that it has asked for before has landed.
void gpu_copy_piece(int32_t slot, int64_t source) {
  Copy copy = {(unsigned char *)(uintptr_t)(uint32_t)slot, (unsigned char *)source, 16, NULL, self};
  if ((slot | source) % 16)
    fail("a copy of 16 bytes is not at a multiple of them");
  memset(copy.to, 0xFF, 16);
  copies[copyCount++] = copy;
}
void gpu_arrive_behind(int32_t barrier) { copies[copyCount++] = (Copy){NULL, NULL, 0, mbarrier(barrier), self}; }
/// From one half of the CTA to the other: the steps that have come.
void gpu_tell(int32_t word, int32_t count) { *(volatile int32_t *)(uintptr_t)(uint32_t)word = count, ++progress; }
int32_t gpu_hear(int32_t told, int32_t step, int32_t quit, int64_t limit, int32_t overdue, int64_t stall, int32_t worker,
                 int32_t number, int32_t event, int32_t seen) {
  Watch watch = {limit, stall, worker, number, event, seen, overdue, quit, 0};
  while (*word(told) - step <= 0)
    if (leaves(&watch))
      return 0;
  return 1;
}
int32_t gpu_word0(int32_t address) { return ((int32_t *)(uintptr_t)(uint32_t)address)[0]; }
int32_t gpu_word1(int32_t address) { return ((int32_t *)(uintptr_t)(uint32_t)address)[1]; }
int32_t gpu_word2(int32_t address) { return ((int32_t *)(uintptr_t)(uint32_t)address)[2]; }
int32_t gpu_word3(int32_t address) { return ((int32_t *)(uintptr_t)(uint32_t)address)[3]; }
static void land(void) {
  Copy copy = copies[draw((uint32_t)copyCount)];
  for (int i = 0; i < copyCount; ++i)
    if (copy.by ? copies[i].by == copy.by : copies[i].to == copy.to) { // the first of its kind
      copy = copies[i];
      if (copy.by)
        memmove(&copies[i], &copies[i + 1], (size_t)(--copyCount - i) * sizeof copy);
      else
        copies[i] = copies[--copyCount];
      break;
    }
  if (copy.to)
    memcpy(copy.to, copy.from, (size_t)copy.bytes);
  if (copy.done && copy.by) {
    arrive(copy.done);
  } else if (copy.done) {
    copy.done->bytes -= copy.bytes;
    settle(copy.done);
  }
}

// ------------------------------------------------------------------------------------------------------ the counters

void gpu_add(int64_t counter) { ++*(uint64_t *)counter, ++progress; }
void gpu_arrive(int64_t counter, int32_t hint) {
  (void)hint;
  gpu_add(counter);
}
/// A hint comes early, mostly: what it announces must be right without it.
int64_t gpu_look(int64_t counter, int64_t target, int32_t hint) {
  if (hint && draw(4))
    return target;
  if (*(uint64_t *)counter < (uint64_t)target)
    later();
  return *(int64_t *)counter;
}
int32_t gpu_flagged(int64_t address) { return *(volatile int32_t *)address; }
int32_t gpu_flagged0(int64_t address) { return gpu_flagged(address); }
int32_t gpu_flagged1(int64_t address) { return gpu_flagged(address + 4); }
int32_t gpu_flagged2(int64_t address) { return gpu_flagged(address + 8); }
int32_t gpu_flagged3(int64_t address) { return gpu_flagged(address + 12); }
void gpu_flag(int64_t address, int32_t word) { *(volatile int32_t *)address = word, ++progress; }
void gpu_set(int32_t address) { *(volatile int32_t *)(uintptr_t)(uint32_t)address = 1; }
int32_t gpu_get(int32_t address) { // between two looks at words that are not there
  later();
  return *(volatile int32_t *)(uintptr_t)(uint32_t)address;
}
void gpu_store(int64_t address, int64_t value) { *(volatile int64_t *)address = value; }
void gpu_stall(int64_t line, int64_t number, int64_t event, int64_t seen) {
  int64_t *words = (int64_t *)line;
  words[1] = number, words[2] = event, words[3] = seen, words[0] = 1;
}
/// Nanoseconds: time passes while nothing happens.
int64_t gpu_clock(void) { return (int64_t)waited * 100 + 1; }
void gpu_stamp(int64_t address) { *(int64_t *)address = gpu_clock(); }
void gpu_fence(void) {}

// -------------------------------------------------------------------------------------------------------- arithmetic

static float wide(uint32_t half) {
  uint32_t word = half << 16;
  float result;
  memcpy(&result, &word, 4);
  return result;
}
int32_t gpu_bf16(float x) {
  uint32_t word;
  memcpy(&word, &x, 4);
  if ((word & 0x7FFFFFFF) > 0x7F800000) // the one that cvt makes
    return 0x7FFF;
  return (int32_t)((word + 0x7FFF + (word >> 16 & 1)) >> 16);
}
int32_t gpu_bf16x2(float high, float low) { return gpu_bf16(high) << 16 | gpu_bf16(low); }
int32_t gpu_pair(int64_t bits) { // two floats, the first in the low half
  float pair[2];
  memcpy(pair, &bits, 8);
  return gpu_bf16x2(pair[1], pair[0]);
}
float gpu_ex2(float x) { return exp2f(x); }
float gpu_rcp(float x) { return 1 / x; }
float gpu_rsqrt(float x) { return 1 / sqrtf(x); }

/// The figures of mma.m16n8k16 in the PTX manual, g = lane / 4 and t = lane % 4: register i of A has row g + 8 (i % 2)
/// and columns 2t + 8 (i / 2), register i of B rows 2t + 8i of column g, number i of C row g + 8 (i / 2), column 2t + i % 2.
void gpu_mma(int32_t a0, int32_t a1, int32_t a2, int32_t a3, int32_t b0, int32_t b1, float c0, float c1, float c2,
             float c3) {
  uint32_t words[6] = {(uint32_t)a0, (uint32_t)a1, (uint32_t)a2, (uint32_t)a3, (uint32_t)b0, (uint32_t)b1};
  uint32_t(*all)[WORDS] = exchange("mma", words, 6);
  int g = self->thread % WARP / 4, t = self->thread % 4;
  float sums[4] = {c0, c1, c2, c3};
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 16; ++k) {
      int of = k % 8 / 2, part = k / 8, shift = 16 * (k % 2);
      uint32_t a = all[4 * g + of][2 * part + i / 2], b = all[4 * (2 * t + i % 2) + of][4 + part];
      sums[i] = fmaf(wide(a >> shift & 0xFFFF), wide(b >> shift & 0xFFFF), sums[i]);
    }
  memcpy(self->sums, sums, sizeof sums);
}
/// ldmatrix.x4.trans: lane 8 i + r has the address of row r of block i; word i of lane 4 g + t: rows 2 t and 2 t + 1, column g.
void gpu_transpose(int32_t address) {
  uint32_t words[4];
  memcpy(words, (void *)(uintptr_t)(uint32_t)address, sizeof words);
  if (address % 16)
    fail("a row of a block is not at a multiple of 16 bytes");
  uint32_t(*all)[WORDS] = exchange("transpose", words, 4);
  int g = self->thread % WARP / 4, t = self->thread % 4;
  for (int i = 0; i < 4; ++i) {
    uint32_t low = all[8 * i + 2 * t][g / 2] >> 16 * (g % 2), high = all[8 * i + 2 * t + 1][g / 2] >> 16 * (g % 2);
    self->columns[i] = (int32_t)((low & 0xFFFF) | high << 16);
  }
}
int32_t gpu_column0(void) { return self->columns[0]; }
int32_t gpu_column1(void) { return self->columns[1]; }
int32_t gpu_column2(void) { return self->columns[2]; }
int32_t gpu_column3(void) { return self->columns[3]; }
float gpu_sum0(void) { return self->sums[0]; }
float gpu_sum1(void) { return self->sums[1]; }
float gpu_sum2(void) { return self->sums[2]; }
float gpu_sum3(void) { return self->sums[3]; }

// ------------------------------------------------------------------------------------------------------------ launch

int32_t gpu_tid(void) { return self ? self->thread : 0; }
int32_t gpu_ctaid(void) { return self ? self->cta : 0; }
int32_t gpu_ntid(void) { return self ? threadsOfCta : 1; }
int32_t gpu_nctaid(void) { return 1; } // only read by kernels that run in one thread here
void *gpu_shared(void) { return ctas[self->cta].shared; }

static int ended;
static void run(void) {
  entry(argument);
  ++ended, ++progress;
  for (;;)
    leave();
}

/// Runs kernel(argument) in all threads of all CTAs; gives NULL, or what went wrong.
const char *gpu_launch(void (*kernel)(void *), void *words, int workers, int threads, int shared, uint64_t start) {
  int count = workers * threads;
  entry = kernel, argument = words, threadsOfCta = threads, sharedBytes = shared;
  fault = NULL, ended = readyCount = copyCount = 0, progress = 0, seed = start * 2654435761u + 88172645463325252u;
  ctas = calloc((size_t)workers, sizeof *ctas);
  fibers = calloc((size_t)count, sizeof *fibers);
  ready = calloc((size_t)count, sizeof *ready);
  for (int c = 0; c < workers; ++c) {
    // Shared memory has addresses of 32 bits.
    ctas[c].shared = mmap(NULL, (size_t)shared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    ctas[c].warps = calloc((size_t)threads / WARP, sizeof *ctas[c].warps);
    memset(ctas[c].shared, 0xFF, (size_t)shared);
  }
  unsigned char *stacks = mmap(NULL, (size_t)count * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < count; ++i) {
    Fiber *f = &fibers[i];
    f->cta = i / threads, f->thread = i % threads;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stacks + (size_t)i * STACK;
    f->context.uc_stack.ss_size = STACK;
    makecontext(&f->context, run, 0);
    ready[readyCount++] = i;
  }
  uint64_t seen = 0, idle = 0;
  while (ended < count && !fault) {
    if (copyCount && (!readyCount || idle > 500 || !draw(1 << 14))) // as late as can be, mostly
      land();
    if (readyCount) {
      int at = (int)draw((uint32_t)readyCount), i = ready[at];
      ready[at] = ready[--readyCount];
      resume(&fibers[i]);
    }
    idle = seen == progress ? idle + 1 : 0;
    waited += idle > 0;
    seen = progress;
    if (idle > MOST_IDLE)
      fault = "no thread can go on";
  }
  if (!fault && copyCount)
    fault = "a CTA ended while a copy to it was under way";
  self = NULL;
  for (int c = 0; c < workers; ++c) {
    munmap(ctas[c].shared, (size_t)shared);
    free(ctas[c].warps);
  }
  munmap(stacks, (size_t)count * STACK);
  free(ctas), free(fibers), free(ready);
  return fault;
}
