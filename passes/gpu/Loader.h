// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_PASSES_GPU_LOADER_H
#define MK_PASSES_GPU_LOADER_H

#include "passes/gpu/AttendItems.h"
#include "passes/gpu/RingWatch.h"
#include "passes/gpu/TaskConditions.h"

namespace mlir::mk {

class ChosenExperts;
struct WeightStream;

/// The code of the loader warp: it issues the copies in the order in which the consumers use them,
/// step after step, and runs ahead of the events by what the ring holds. Weights wait for nothing
/// but a slot; keys and values also for the step, which says whose they are.
class Loader {
public:
  /// For steps of at most `most` tokens.
  Loader(GpuBuilder &b, mk_task::ProgramOp program, mk_task::TableOp table, Value context,
         Value worker, int64_t most);
  void emit();

private:
  /// Carried through all loops: whether the CTA goes on, the place of the next copy, and that of
  /// the oldest which may not have landed.
  struct State {
    Value alive;
    RingPlace next, oldest;
    SmallVector<Value> values() const;
    static State of(ValueRange values);
  };
  SmallVector<Value> bring(WeightStream &weights, Value instruction, Value step, ValueRange at);
  TaskConditions::Answer askConditions(Value instruction, Value step, ValueRange at);
  State fillWeights(Value offset, Value bytes, State state);
  // LoaderExperts.cpp
  State streamExperts(mk_task::KindOp kind, Value instruction, Value step, State state);
  State streamTiles(ChosenExperts &experts, Value instruction, State state);
  State streamCache(mk_task::KindOp kind, Value instruction, Value step, State state);
  State fillBlock(AttendItems &items, Value number, Value block, Value first, Value count,
                  Value row, State state);
  /// Waits until copies have landed, the oldest first, while `more` of the oldest is true. Gives
  /// whether they have, and the oldest that may not.
  SmallVector<Value> drain(Value alive, RingPlace oldest,
                           function_ref<Value(RingPlace oldest)> more);
  /// Waits until one more copy may be under way and the next slot is free, and runs `issue` with
  /// it.
  State fill(State state, function_ref<void(Value slot)> issue);

  GpuBuilder &b;
  mk_task::ProgramOp program;
  mk_task::TableOp table;
  Value context, lane;
  int64_t most;
  TargetAttr target;
  OptionsAttr options;
  SharedLayout layout;
  Value full, empty, ring, used;
  RingWatch watch; // of the instruction that is copied for
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_LOADER_H
