// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What mk-lower-cta-to-nvvm writes in inline PTX, and the addresses that it needs: waits in memory,
// flagged words, the words of the context.
#ifndef MK_PASSES_GPU_CTAASSEMBLY_H
#define MK_PASSES_GPU_CTAASSEMBLY_H

#include "dialects/mk_cta/MkCta.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// Bytes of a counter, each in a line of the cache of its own.
inline constexpr int64_t kEventBytes = 64;

Value toI64(GpuBuilder &b, Value index);
/// Inline PTX with a clobber of memory; without a type it gives nothing.
Value assembly(GpuBuilder &b, Type type, StringRef text, StringRef constraints,
               ValueRange operands);
/// What one load of some words gives; `address` is a register of the constraint `from`.
Value loadWords(GpuBuilder &b, int64_t count, StringRef text, StringRef from, Value address);
Value global(GpuBuilder &b, Value address);
/// Words of the context never change during a launch.
Value loadWord(GpuBuilder &b, Value context, StringRef name);
Value instruction(GpuBuilder &b, Value context, Value worker, Value number);
/// The 32-bit address of element (or row) i in the window of shared memory.
Value element(GpuBuilder &b, Value memory, Value i);
/// The address, an i64, of an element in global memory.
Value address(GpuBuilder &b, Value memory, ValueRange indices);
Value loadFlagged(GpuBuilder &b, mk_cta::LoadFlaggedOp op);
/// mk_cta.look_again: since when, and whether to go on. `patient`: as the loader is.
struct LookAgain {
  Value context, worker, number, overdue, begin;
  bool patient;
};
std::pair<Value, Value> lookAgain(GpuBuilder &b, LookAgain look);
/// mk_cta.await_predicate: looks at the word in all lanes of a warp.
Value awaitPredicate(GpuBuilder &b, mk_cta::AwaitPredicateOp op);
/// Looks a few thousand times, then at the clock, and so on.
Value poll(GpuBuilder &b, Operation *op);

} // namespace mlir::mk

#endif // MK_PASSES_GPU_CTAASSEMBLY_H
