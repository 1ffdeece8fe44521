// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Turns one kind into the body of a function that the consumer threads of a CTA run together. As on
// the CPU, values are evaluated by demand (`pull`), but a thread asks for one column, or for the
// eight that it holds of a fragment.
#ifndef MK_PASSES_GPU_GPUEMITTER_H
#define MK_PASSES_GPU_GPUEMITTER_H

#include "dialects/mk_cta/MkCta.h"
#include "dialects/mk_task/MkTask.h"
#include "passes/cpu/KindEmitter.h"
#include "passes/gpu/GpuBuilder.h"

namespace mlir::mk {

/// Bytes of shared memory: barriers and flags, what kinds use, then the ring.
struct SharedLayout {
  SharedLayout(mk_task::ProgramOp program, TargetAttr target);
  static constexpr int64_t kQuit = 1000, kUsed = 1008; // flags, behind full and empty barriers
  /// What a step is asked to do, int32 [4 arrays][16]: tokens, positions, slots, rows.
  static constexpr int64_t kHeader = 1024;
  static int64_t headerOf(StringRef array) {
    return array == "tokens"      ? 0
           : array == "positions" ? 1
           : array == "slots"     ? 2
           : array == "rows"      ? 3
                                  : -1;
  }
  int64_t scratch = kHeader + 256; // first byte
  int64_t ring;                    // first byte
  int64_t stages;
  int64_t bytes() const { return ring + stages * kSlotBytes; }
};

/// What every body is given, as the arguments of its function.
struct GpuFrame {
  Value context, instruction, worker;
  Value tokens, rows; // of this step
  RingPlace ring;
};

/// The columns that thread t of four holds of 32 columns of a row: those from `segment` on, at the
/// places given by mk_task::Order::fragments.
struct FragmentPlace {
  Value row, segment, t;
};

class GpuEmitter {
public:
  GpuEmitter(GpuBuilder &b, mk_task::ProgramOp program, mk_task::KindOp kind, SharedLayout layout,
             GpuFrame frame);

  /// Where the ring stands after the body, or failure with a diagnostic.
  FailureOr<RingPlace> emit();
  /// Bytes of shared memory that the kind's body uses.
  static int64_t scratchBytes(mk_task::KindOp kind);

private:
  /// Memory of an operand or result.
  struct Memory {
    StringRef arena;
    Value offset; // bytes
    RankedTensorType type;
    int64_t pitch; // bytes
    mk_task::Order order;
    int64_t columns() const { return type.getShape().back(); }
  };
  struct Output {
    Value value;
    std::optional<Memory> memory; // none for a cache
  };

  // GpuEmitter.cpp: memory.
  LogicalResult bindOperands();
  Memory &memoryOf(Value value);
  Value field(StringRef name, int64_t index = 0) {
    return b.create<mk_cta::FieldOp>(frame.instruction, name, index);
  }
  Value view(StringRef arena, Value offset, ArrayRef<int64_t> shape, ArrayRef<int64_t> strides,
             Type element);
  /// The rows in units of `element`, a scalar or a vector, so that a load is one instruction.
  Value rowsAs(const Memory &memory, Type element);
  Value shared(int64_t offset, ArrayRef<int64_t> shape, Type element);
  Value request(StringRef name);
  Value readRequest(StringRef name, Value position) { return b.read(request(name), position); }
  Value rowCount() {
    return kind.getDomain() == mk_task::Domain::tokens ? frame.tokens : frame.rows;
  }
  Value at(Column column) {
    return column.dynamic ? b.add(column.dynamic, column.constant) : b.index(column.constant);
  }
  Value position(Value column, mk_task::Order order);
  Value load(const Memory &memory, Value row, Value column);
  void store(Value value, const Memory &memory, Value row, Value column);
  Value readIndex(Value value, Value row) { return b.toIndex(load(memoryOf(value), row, row)); }
  LogicalResult refuse(Operation *op, const Twine &why);
  Type f32() { return b.getF32Type(); }
  VectorType vectorOf(int64_t n, Type element) { return VectorType::get({n}, element); }

  // GpuRows.cpp: evaluation by demand.
  Value pull(Value value, Value row, Column column);
  std::pair<Value, Value> angle(RopeOp op, Value row);
  Value pullRope(RopeOp op, Value row, Column column);
  Value pullEmbedding(EmbeddingOp op, Value row, Column column);
  Value pullCombine(CombineOp op, Value row, Column column);
  /// A loop over the ranges of a head, a few at a time: `load` gives the `parts` sums of a range.
  SmallVector<Value> joinRanges(CombineOp op, Value row, Value head, int64_t parts,
                                function_ref<SmallVector<Value>(Value range)> load);
  SmallVector<Value> pullFragment(Value value, FragmentPlace place);
  SmallVector<Value> loadFragment(const Memory &memory, FragmentPlace place);

  // GpuStores.cpp: where the values of a unit go, and the kinds that are nothing but that.
  void eachSegment(Value unit, Value inGroup, function_ref<void(Value inside)> body);
  void forSegments(Value unit, Value inGroup, function_ref<void()> body);
  int64_t origin(Value value);
  bool covers(Value value);
  void storeUnit(Value row, Value second);
  void storeColumn(Value value, const Memory &memory, Value row, Column column, Value valid);
  void storeCache(KvAppendOp op, Value row, bool second);
  Value pageOf(KvAppendOp op, Value row);
  bool dependsOnSums(Value value);
  void loadEarly(LinearOp linear, Value row, Value unit, Value inGroup, Value second, Value active);
  /// What `loadEarly` has for this segment: by value or operation. Empty: nothing.
  ArrayRef<Value> earlyOf(const void *key);
  Value cacheBlock(CacheType type, Value layer, Value page, Value head);
  FailureOr<RingPlace> emitColumns();

  // GpuLinear.cpp
  FailureOr<RingPlace> emitLinear();
  RingPlace emitLinear(LinearOp linear, int64_t groups);
  LogicalResult checkLinear(LinearOp linear);
  void keepBest(ArgmaxPartialOp op, Value row, Value unit, Value quarter, Value active,
                Value memory, Value buffer, Value inBatch);
  void storeBest(ArgmaxPartialOp op, const Memory &memory, Value best, Value buffer, Value from,
                 Value end);

  FailureOr<RingPlace> emitAttend(); // GpuAttend.cpp
  FailureOr<RingPlace> emitSerial(); // GpuSerial.cpp
  void emitArgmaxReduce(ArgmaxReduceOp op);
  void emitSample(SampleOp op);
  void emitAdvance(AdvanceOp op);
  /// The largest (value, lowest column) over the consumers, known to all of them.
  std::pair<Value, Value> reduceBest(Value value, Value column);
  Value reduceSum(Value value);

  GpuBuilder &b;
  mk_task::ProgramOp program;
  mk_task::KindOp kind;
  SharedLayout layout;
  GpuFrame frame;
  OptionsAttr options;
  Value thread;

  DenseMap<Value, Memory> memory; // kind argument -> memory
  DenseMap<Value, Value> layers;  // cache argument -> layer
  DenseMap<Value, mk_task::WeightOp> tiled;
  SmallVector<Output> outputs;
  UnitGroups groups; // while a unit is stored
  DenseMap<std::pair<mk_task::SegmentAttr, const void *>, SmallVector<Value>> early;
  std::function<Value(int64_t half)> accumulator; // column of group A or B of this thread
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_GPUEMITTER_H
