// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The native CPU runtime as Python sees it: plain C, no exceptions, no MLIR.
// python/mk/runtime/native.py declares the same functions for ctypes.
#ifndef MK_RUNTIME_CPU_RUNTIME_H
#define MK_RUNTIME_CPU_RUNTIME_H

#include <cstdint>

#define MK_API extern "C" __attribute__((visibility("default")))

namespace mk {
/// Words of a context, and the index of each (see runtime/abi/Abi.def).
enum ContextWord : int {
#define MK_CONTEXT(name, index, doc) context_##name = index,
#include "runtime/abi/Abi.def"
};

/// How a numeric argument says which element type an array has.
enum ElementType : int32_t { elementF32 = 0, elementBF16 = 1, elementF16 = 2 };

/// What a wait for a run found.
enum RunState : int32_t { runEnded = 0, runTimeout = 1, runStalled = 2, runTokens = 3 };

/// Runs `work(part)` for every part in [0, parts) on up to `threads` threads; the calling thread is
/// one of them.
void parallelFor(int threads, int64_t parts, void (*work)(void *data, int64_t part), void *data);
} // namespace mk

//===----------------------------------------------------------------------===//
// Machine
//===----------------------------------------------------------------------===//

/// A hash of the names and places in runtime/abi/Abi.def.
MK_API uint64_t mk_abi_hash();

/// Writes the logical CPU of each physical core that this process may use, in ascending order;
/// returns their number, at least 1, and writes at most `capacity` of them.
MK_API int32_t mk_cores(int32_t *cpus, int32_t capacity);

/// Bytes per second that `threads` threads read together, each its own linear part of `bytes`
/// bytes, over about `seconds`; 0 if there is not enough memory.
MK_API double mk_read_bandwidth(int64_t bytes, int32_t threads, double seconds);

/// The counter that programs with times read, and the nanoseconds of CLOCK_MONOTONIC at that
/// moment.
MK_API void mk_read_clocks(int64_t *counter, int64_t *nanoseconds);

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// Zeroed memory at a page boundary, on huge pages where the kernel gives them; null if there is
/// not enough.
MK_API void *mk_alloc(int64_t bytes);
MK_API void mk_free(void *memory, int64_t bytes);

/// Reads `bytes` bytes at `offset` of a file with several threads; returns 0, or errno (EIO at a
/// premature end).
MK_API int32_t mk_read_file(const char *path, int64_t offset, void *to, int64_t bytes,
                            int32_t threads);

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// Rows of a row-major matrix.
struct MkSource {
  const void *data;
  int64_t rows;
  int64_t type; // ElementType
};

/// `#mk_task.segment`.
struct MkSegment {
  int64_t base, limit, outer, stride, half, partner;
};

/// Packs the rows of all sources, one below the other, each of `columns` elements, into tiles of
/// the `tiles` layout (dialects/mk_task/MkTaskAttrs.td). Tile t, in the order of the segments'
/// units, is written at byte `64 * tileOffsets[t]` of `stream`. `storage` is elementF32 or
/// elementBF16. Returns 0, or -1 if a segment names a row that no source has, or has another number
/// of units than there are tiles.
MK_API int32_t mk_pack_tiles(const MkSource *sources, int32_t sourceCount, int64_t columns,
                             int32_t storage, int32_t lanes, const MkSegment *segments,
                             int32_t segmentCount, const int64_t *tileOffsets, int64_t tileCount,
                             void *stream, int32_t threads);

/// Converts `elements` numbers, rounding to nearest even.
MK_API void mk_convert(const void *from, int32_t fromType, void *to, int32_t toType,
                       int64_t elements, int32_t threads);

//===----------------------------------------------------------------------===//
// Code and engines
//===----------------------------------------------------------------------===//

struct MkCode;
struct MkEngine;

/// Loads a shared library from memory and finds its entry, `void (void *context, int32_t worker)`.
/// Null on failure, with a message in `error`.
MK_API MkCode *mk_code_load(const void *bytes, int64_t size, const char *entry, char *error,
                            int64_t errorSize);
MK_API void mk_code_unload(MkCode *code);

/// An engine: parked worker threads that run `code` on a copy of `context` (whose `yield` word is
/// filled in here). Threads are pinned to physical cores if there are enough of them.
/// `stallSeconds`: see Watchdog.cpp. Null if the threads cannot be started.
MK_API MkEngine *mk_engine_create(MkCode *code, const uint64_t *context, int64_t events,
                                  int32_t workers, double stallSeconds);
/// The context that the workers see, for its `step` word and for tests.
MK_API uint64_t *mk_engine_context(MkEngine *engine);
/// Lets all workers run. The last run must have ended.
MK_API void mk_engine_start(MkEngine *engine);
/// Waits until the run has ended or stalled, at most `timeout` seconds. Returns a RunState.
MK_API int32_t mk_engine_wait(MkEngine *engine, double timeout);
/// The same, but also returns (runTokens) as soon as `*count`, a counter in the request block,
/// differs from `seen`.
MK_API int32_t mk_engine_wait_tokens(MkEngine *engine, const int64_t *count, int64_t seen,
                                     double timeout);
/// For each worker the event that it waits for, or -1 if it does not wait; meaningful after a
/// stall.
MK_API void mk_engine_waiting(MkEngine *engine, int32_t *events);
/// Ends the threads. Returns 0, or 1 if the engine has stalled: its threads stay parked in the
/// code, so neither the code nor any memory of the context may be freed.
MK_API int32_t mk_engine_destroy(MkEngine *engine);

#endif // MK_RUNTIME_CPU_RUNTIME_H
