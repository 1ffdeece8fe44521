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
#include "passes/gpu/AttendItems.h"
#include "passes/gpu/GpuBuilder.h"
#include "passes/gpu/Request.h"
#include "passes/gpu/RingWatch.h"
#include "passes/gpu/SharedLayout.h"
#include "passes/gpu/Waiter.h"

namespace mlir::mk {

/// What every body is given, as the arguments of its function.
struct GpuFrame {
  Value context, instruction, number, worker;
  Value step, tokens, rows;
  RingPlace ring;
};

/// The columns that thread t of four holds of 32 columns of a row: those from `segment` on, at the
/// places given by mk_task::Order::fragments.
struct FragmentPlace {
  Value row, segment, t;
};

/// Steps of at most kGroupRows tokens have a kernel of their own if there are larger ones: in one
/// kernel the code for 16 tokens would take registers, and room in the instruction cache, from
/// them.
inline bool hasKernelOfFew(OptionsAttr options) { return options.getMaxTokens() > kGroupRows; }
/// Whether the body of a kind is another one for few tokens.
bool dependsOnRows(mk_task::KindOp kind);
/// The function of a kind's body for steps of at most `most` tokens.
std::string getBodyName(mk_task::KindOp kind, int64_t most);
/// Whether there is something to do for a task of the kind that is passed over, and the function
/// that does it.
bool clearsWhenPassed(mk_task::ProgramOp program, mk_task::KindOp kind);
std::string getPassedName(mk_task::KindOp kind);

class GpuEmitter {
public:
  /// `most`: tokens of a step.
  GpuEmitter(GpuBuilder &b, mk_task::ProgramOp program, mk_task::KindOp kind, SharedLayout layout,
             GpuFrame frame, int64_t most);

  /// Where the ring stands after the body, or failure with a diagnostic.
  FailureOr<RingPlace> emit();
  /// What is left of the body for a task that is passed over.
  LogicalResult emitPassed();
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
    bool flagged = false;
    bool records = false; // of a call: a row of the step is in the record of its token's number
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
             Type element) {
    return b.view(frame.context, arena, offset, shape, strides, element);
  }
  /// The rows in units of `element`, a scalar or a vector, so that a load is one instruction.
  Value rowsAs(const Memory &memory, Type element);
  /// Memory in which a row is where it would be without records; `row` becomes its number there.
  Memory locate(const Memory &memory, Value &row);
  RingWatch watch() { return {b, frame.context, frame.worker, frame.number}; }
  Value shared(int64_t offset, ArrayRef<int64_t> shape, Type element) {
    return b.shared(offset, shape, element);
  }
  Value request(StringRef name) { return requestArray(b, frame.context, options, name); }
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
  /// A size of this step, or of the one before.
  Value sizeOf(SharedLayout::Size size, bool before);
  /// Of the flagged buffers, 0 or 1: the one that this step uses.
  Value copy() { return b.rem(frame.step, 2); }
  /// From one copy to the other.
  Value flaggedBytes() { return b.create<mk_cta::ContextWordOp>(frame.context, "flagged"); }

  // GpuFlagged.cpp: words that say themselves whether they have been written.
  using Body = function_ref<SmallVector<Value>()>;
  /// What a body loads.
  struct Words {
    SmallVector<Value> values;
    SmallVector<bool> flagged;
  };
  Value loadWords(const Memory &memory, int64_t count, ValueRange indices);
  Words issue(Body body, ArrayRef<Value> before = {});
  SmallVector<Value> settle(const Words &words, Body body, bool together);
  SmallVector<Value> replay(ArrayRef<Value> words, Body body);
  SmallVector<Value> whenWritten(Body body, bool together);
  void storeWord(Value word, const Memory &memory, Value row, Value place);
  void storeFlagged(Value value, const Memory &memory, Value row, Value place);
  Memory otherCopy(Memory memory);
  void clearUnits();
  void clearRows();
  void clearItems(AttendItems &items, const Memory &partials, Value begin, Value width);
  using OfItem = function_ref<void(Value h, Value dim, Value sum, Value pair)>;
  void eachColumn(AttendItems &items, Item item, Value thread, int64_t threads, OfItem body);
  Value readIndex(Value value, Value row) { return b.toIndex(load(memoryOf(value), row, row)); }
  LogicalResult refuse(Operation *op, const Twine &why);
  Type f32() { return b.getF32Type(); }
  VectorType vectorOf(int64_t n, Type element) { return VectorType::get({n}, element); }

  // GpuRows.cpp: evaluation by demand.
  Value pull(Value value, Value row, Column column);
  std::pair<Value, Value> angle(RopeOp op, Value row);
  Value pullRope(RopeOp op, Value row, Column column);
  Value rotate(Value low, Value high, std::pair<Value, Value> angle, bool second);
  Value pullEmbedding(EmbeddingOp op, Value row, Column column);
  Value pullGeneric(GenericOp op, Value row, Column column); // GpuGeneric.cpp
  Value pullChoose(ChooseOp op, Value row, Column column);   // GpuControl.cpp
  SmallVector<Value> pullFragment(Value value, FragmentPlace place);
  SmallVector<Value> loadFragment(const Memory &memory, FragmentPlace place);

  // GpuCombine.cpp: the ranges of attention.
  /// Of so many lanes that share the ranges of a column one.
  struct RangeLane {
    Value number;
    int64_t count;
  };
  SmallVector<Value> noRanges(CombineOp op, Value row, Value head, int64_t parts, Value first = {});
  SmallVector<Value> weigh(ValueRange joined, ArrayRef<Value> tops, ArrayRef<Value> weights,
                           ArrayRef<SmallVector<Value>> sums);
  SmallVector<Value> joinLanes(ArrayRef<Value> low, ArrayRef<Value> high);
  /// A loop over the ranges of a head, a few at a time: `load` gives the `parts` sums of a range.
  SmallVector<Value> addRanges(CombineOp op, Value row, Value head, int64_t parts, RangeLane lane,
                               function_ref<SmallVector<Value>(Value)> loadSums);
  SmallVector<Value> loadSum(CombineOp op, Value row, Value range, Value dim);
  SmallVector<Value> joinRanges(CombineOp op, Value row, Value head, int64_t parts,
                                function_ref<SmallVector<Value>(Value range)> load);
  Value pullCombine(CombineOp op, Value row, Column column);
  CombineOp findLongCombine();
  void emitCombine(CombineOp op, Value units);
  Value joinedOnChip();
  void joinOnChip(AttendItems &items, Item item, Value kept);

  // GpuStores.cpp: where the values of a unit go, and the kinds that are nothing but that.
  void eachSegment(Value unit, Value inGroup, function_ref<void(Value inside)> body);
  void forSegments(Value unit, Value inGroup, function_ref<void()> body);
  int64_t origin(Value value);
  bool covers(Value value);
  void storeUnit(Value row, Value second);
  void storeHalf(Value row, bool isSecond);
  void clearColumns(const Memory &memory, Value row, Value column, Value valid);
  void storeColumn(Value value, const Memory &memory, Value row, Column column, Value valid);
  void storeCache(KvAppendOp op, Value row, bool second);
  Value pageOf(KvAppendOp op, Value row);
  bool dependsOnSums(Value value);
  void loadEarly(Operation *product, Value row, Value unit, Value inGroup, Value second,
                 Value active);
  /// What `loadEarly` has for this segment: by value or operation. Empty: nothing.
  SmallVector<Value> earlyOf(const void *key);
  FailureOr<RingPlace> emitColumns();

  // GpuHeads.cpp
  bool hasHeads();
  void enterPart(const UnitGroups &head, Value lane, int64_t part);
  void loadBeside(Value row);
  Value rowsUnderHead();
  void storeHead(Value row, Value lane);
  Value pullHeadNorm(HeadNormOp op, Value row, Column column);
  Value scaleOfHead(HeadNormOp op, Value squares);
  Value normalizeHead(Value x, Value scale, Value gain) { return b.fmul(b.fmul(x, scale), gain); }
  Value inverseRoot(Value sum, int64_t columns, const APFloat &eps);
  FailureOr<RingPlace> emitHeads();

  // GpuNorms.cpp
  static SmallVector<Operation *> findNorms(mk_task::KindOp kind);
  static int64_t normBytes(mk_task::KindOp kind);
  void sumRows(Value input, function_ref<Value(Value x, Value row)> term,
               function_ref<void(Value sum, Value row)> finish);
  void prepareNorms(int64_t partials, int64_t place);
  /// Sums of rows by warp [warp][row].
  static constexpr int64_t kPartialBytes = kConsumerWarps * kMaxRows * 4;
  Value normalize(Operation *op, Value row, Value x, ArrayRef<Value> vectors);

  // GpuLinear.cpp
  RingPlace ifAnyRows(function_ref<RingPlace()> body);
  FailureOr<RingPlace> emitLinear();
  RingPlace emitLinear(LinearOp linear, int64_t groups);
  LogicalResult checkLinear(LinearOp linear);

  // GpuExperts.cpp
  FailureOr<RingPlace> emitExperts();
  LogicalResult checkExperts();
  struct ExpertTask;
  RingPlace emitMoeLinear(ExpertTask &task);
  void clearRanks();
  RingPlace emitMoeCombine(ExpertTask &task);
  SmallVector<Value> expertRows(ExpertTask &task, Value chunk, ArrayRef<Value> rows,
                                ArrayRef<Value> columns);
  void atRank(Value rank, function_ref<void()> body);
  void storeSums(ExpertTask &task, Value buffer, Value row, Value unit, Value inBatch,
                 Value active);

  // GpuRoute.cpp
  static int64_t routeBytes(TopkRouteOp op);
  void emitTopkRoute(TopkRouteOp op);

  // GpuArgmax.cpp
  void keepBest(ArgmaxPartialOp op, Value row, Value unit, Value quarter, Value active,
                Value memory, Value buffer, Value inBatch);
  void storeBest(ArgmaxPartialOp op, const Memory &memory, Value best, Value buffer, Value from,
                 Value end);

  FailureOr<RingPlace> emitAttend(); // GpuAttend.cpp

  // GpuAttendHeads.cpp
  /// A row of the step whose heads are made, and what their ops need beside columns.
  struct HeadRow {
    Value row;
    HeadColumns columns;
    llvm::MapVector<Operation *, SmallVector<Value>> beside;
  };
  LogicalResult checkPrologue(AttendOp op);
  HeadColumns columnsOfHead(int64_t headDim);
  SmallVector<Value> loadHead(Value rows, Value row, Value head, const HeadColumns &columns);
  SmallVector<Value> &besideHead(Operation *op, HeadRow &row);
  SmallVector<Value> makeHead(Value value, ArrayRef<Value> argument, HeadRow &row);
  SmallVector<Value> makeFresh(AttendOp op, const Item &item, AttendItems &items,
                               function_ref<void()> joinTeam);
  SmallVector<Value> makeRow(AttendOp op, const Item &item, Value number,
                             const HeadColumns &columns);

  FailureOr<RingPlace> emitSerial(); // GpuSerial.cpp
  void emitArgmaxReduce(ArgmaxReduceOp op);
  void emitSample(SampleOp op);
  void emitAdvance(AdvanceOp op);
  void emitFinish();                    // GpuFinish.cpp
  void emitAcrossRows(AcrossRowsOp op); // GpuControl.cpp
  /// The largest (value, lowest column) over the consumers, known to all of them.
  std::pair<Value, Value> reduceBest(Value value, Value column);
  Value reduceSum(Value value);

  GpuBuilder &b;
  mk_task::ProgramOp program;
  mk_task::KindOp kind;
  SharedLayout layout;
  GpuFrame frame;
  OptionsAttr options;
  int64_t most; // tokens
  Value thread;

  DenseMap<Value, Memory> memory; // kind argument -> memory
  DenseMap<Value, Value> layers;  // cache argument -> layer
  DenseMap<Value, mk_task::WeightOp> tiled;
  SmallVector<Output> outputs;
  UnitGroups groups;     // while a unit is stored
  bool clearing = false; // a unit's words are taken back instead
  /// While a body is written that loads words: those that it loaded, or is to be given.
  struct WordLoads {
    Words words;
    bool given = false;
    size_t next = 0;
    ArrayRef<Value> before = {}; // what the look before gave: only what was missing is loaded again
  } *loads = nullptr;
  Value isMissing(Value words);
  /// What the epilogue needs beside the sums: values, or loads under way and what is made of them.
  struct Early {
    SmallVector<Value> values;
    Words words;
    std::function<SmallVector<Value>()> body;
    bool busy = false;
  };
  llvm::MapVector<std::pair<mk_task::SegmentAttr, const void *>, Early> early;
  std::function<Value(int64_t half)> accumulator; // column of group A or B of this thread
  std::array<Value, 2> accumulators;              // while a unit is stored: both, if used
  DenseMap<Value, std::array<Value, 2>> held;     // rows: their columns of groups A and B
  DenseMap<Operation *, Value> headScales;        // mk.head_norm: 1 / rms of the head
  DenseMap<Operation *, Value> normStats;         // norms of rows: see prepareNorms
  int64_t normPartials = 0;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_GPUEMITTER_H
