// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What one thread of a kernel does with the ring, found by running it on numbers alone.
#ifndef MK_PASSES_GPU_RINGTRACE_H
#define MK_PASSES_GPU_RINGTRACE_H

#include "dialects/mk_cta/MkCta.h"
#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/RingSlice.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::mk {

/// An integer: a constant, plus multiples of the unknown first unit and stream place of one
/// instruction.
struct Number {
  int64_t constant = 0, begins = 0, streams = 0;
  int64_t instruction = -1; // whose, if there are any
  bool isConstant() const { return !begins && !streams; }
  bool operator==(const Number &other) const {
    return constant == other.constant && begins == other.begins && streams == other.streams &&
           (isConstant() || instruction == other.instruction);
  }
  bool operator!=(const Number &other) const { return !(*this == other); }
};
using MaybeNumber = std::optional<Number>;

/// What is known where two ways meet.
inline MaybeNumber join(MaybeNumber a, MaybeNumber b) { return a == b ? a : std::nullopt; }

inline std::optional<int64_t> constantOf(MaybeNumber number) {
  if (number && number->isConstant())
    return number->constant;
  return std::nullopt;
}

/// One slot in turn, as the loader fills it or a consumer uses it.
struct RingUse {
  Operation *op = nullptr;
  StringRef kind;
  SmallVector<MaybeNumber> holds;
  MaybeNumber slot, parity; // of the wait before
  MaybeNumber bytes;        // announced
  int64_t copied = 0;       // by this lane
  bool whole = false;       // one copy brings it
  int64_t released = 0;
};

/// What the kernel reads: words of the table, of the request, and of the CTA's memory.
struct RingInputs {
  struct Row {
    ArrayRef<int32_t> words;
    bool anywhere; // its units may begin, and its weights lie, anywhere
  };
  SmallVector<Row> instructions; // of the one worker
  int64_t steps = 2;
  llvm::StringMap<int64_t> request;       // by array, its first word
  DenseMap<int64_t, int64_t> sharedWords; // by address
  DenseMap<int64_t, bool> predicates;     // by the word of an instruction that names one
};

class RingTrace {
public:
  RingTrace(RingSlice &slice, mk_task::ProgramOp program, const RingInputs &inputs, int64_t thread);
  /// Fails, with an error, where a use of the ring depends on what is not known.
  LogicalResult run(func::FuncOp main);

  SmallVector<RingUse> uses;
  bool asksForThread = false; // in a kind: then other warps may do something else

private:
  LogicalResult runBlock(Block &block);
  LogicalResult runOp(Operation *op);
  LogicalResult runIf(scf::IfOp op);
  LogicalResult runSwitch(scf::IndexSwitchOp op);
  LogicalResult runFor(scf::ForOp op);
  LogicalResult runWhile(scf::WhileOp op);
  LogicalResult runCall(func::CallOp op);
  LogicalResult runRing(Operation *op);
  LogicalResult oneOf(Operation *op, ArrayRef<Region *> regions);
  LogicalResult refuse(Operation *op, const Twine &why);
  MaybeNumber evaluate(Operation *op);
  MaybeNumber load(memref::LoadOp op);
  MaybeNumber field(mk_cta::FieldOp op);
  MaybeNumber get(Value value) { return values.lookup(value); }
  void set(Value value, MaybeNumber number) { values[value] = number; }
  SmallVector<MaybeNumber> getAll(ValueRange range);
  void setAll(ValueRange range, ArrayRef<MaybeNumber> numbers);

  RingSlice &slice;
  mk_task::ProgramOp program;
  const RingInputs &inputs;
  int64_t thread, begun = 0, budget = int64_t(1) << 26;
  StringRef kind;
  DenseMap<Value, MaybeNumber> values;
  // What comes before a use.
  SmallVector<MaybeNumber> holds;
  MaybeNumber emptySlot, emptyParity;
  int64_t copied = 0;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_RINGTRACE_H
