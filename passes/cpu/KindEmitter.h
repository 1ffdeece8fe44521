// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Turns one kind into the body of a function. Row-wise ops are evaluated by demand: whoever needs
// some columns of a value asks `pull` for them, which asks the value's operands in turn, down to
// loads and accumulators; what needs a whole row first (a norm, the weights of a combine) is done
// once per row by `prepare`. So any chain of fused ops becomes one loop, and no op needs to know
// what it is fused with.
#ifndef MK_PASSES_CPU_KINDEMITTER_H
#define MK_PASSES_CPU_KINDEMITTER_H

#include "dialects/mk_cta/MkCta.h"
#include "dialects/mk_task/MkTask.h"
#include "passes/cpu/VectorMath.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::mk {

/// A column that is part constant, part known at run time (null: constant).
struct Column {
  Value dynamic;
  int64_t constant = 0;
  Column operator+(int64_t offset) const { return {dynamic, constant + offset}; }
  bool operator==(const Column &other) const {
    return dynamic == other.dynamic && constant == other.constant;
  }
};

/// `width` columns of one row. Only the first `valid` (null: all) exist; the others read as zero.
struct Place {
  Value row;
  Column column;
  int64_t width;
  Value valid;
  Place at(Column other) const { return {row, other, width, valid}; }
  Place inRow(Value other) const { return {other, column, width, valid}; }
};

/// The unit that the epilogue works on: groups A and B of a segment, and their accumulators, if
/// any.
struct UnitGroups {
  mk_task::SegmentAttr segment;
  Column a, b;          // first columns, in the accumulators' numbering
  Value within;         // how far A lies into its half (for the index of a rotary frequency)
  Value validA, validB; // null: all lanes
  Value accA, accB;     // null in a `columns` kind
};

class KindEmitter {
public:
  KindEmitter(CodeBuilder &b, mk_task::ProgramOp program, mk_task::KindOp kind, Value context,
              Value instruction, Value worker);

  LogicalResult emit();
  /// Private bytes that the body uses.
  int64_t scratchBytes() const { return scratch; }

private:
  // KindEmitter.cpp: memory and dispatch.
  LogicalResult bindOperands();
  /// The memory behind a value: a kind argument, or a prologue's row, which is the linear's input.
  Value memoryOf(Value value);
  Value field(StringRef name, int64_t index = 0) {
    return b.create<mk_cta::FieldOp>(instruction, name, index);
  }
  Value view(StringRef arena, Value offset, ArrayRef<int64_t> shape, ArrayRef<int64_t> strides,
             Type element);
  Value rowsView(StringRef arena, Value offset, RankedTensorType type, int64_t pitchBytes);
  /// Private memory for this body, at a fixed place.
  Value allocate(ArrayRef<int64_t> shape, Type element);
  Value request(StringRef name);
  Value readRequest(StringRef name, Value position);
  Value rowCount(mk_task::Domain domain);
  Value read(Value memory, ValueRange indices) { return b.create<memref::LoadOp>(memory, indices); }
  void write(Value value, Value memory, ValueRange indices) {
    b.create<memref::StoreOp>(value, memory, indices);
  }
  Value at(Column column) {
    return column.dynamic ? b.add(column.dynamic, column.constant) : b.index(column.constant);
  }
  VectorType vector(Type element, int64_t width) { return VectorType::get({width}, element); }
  Value load(Value memory, const Place &place);
  void store(Value value, Value memory, const Place &place);
  Value narrow(Value value, Type element) {
    return element.isBF16() ? b.toBf16(value, nativeBf16) : value;
  }
  LogicalResult refuse(Operation *op, const Twine &why);

  // Rows.cpp: evaluation by demand.
  void prepare(Value value, Value row);
  Value pull(Value value, Place place);
  Value pullEmbedding(EmbeddingOp op, const Place &place);
  Value pullRope(RopeOp op, const Place &place);
  Value pullCombine(CombineOp op, const Place &place);
  Value rangesOf(CombineOp op, Value row);
  Value pullGeneric(GenericOp op, const Place &place); // Generic.cpp
  Value pullChoose(ChooseOp op, const Place &place);
  /// The elements of a row, or of a vector, at the columns in the lanes.
  Value gather(Value memory, Value row, Value columns, Value mask);
  void prepareCombine(CombineOp op, Value row);
  /// Columns that one pull of the value may cover at most, starting at a multiple of it.
  int64_t pullWidth(Value value);

  // Norms.cpp
  Value inverseRoot(Value sum, int64_t columns, const APFloat &eps);
  Value sumRow(Value input, Value row, function_ref<Value(Value columns, Value sum)> addColumns);
  void prepareNorm(Operation *op, Value row);
  Value pullNorm(Operation *op, const Place &place);
  void prepareHeads(mk_task::SegmentAttr segment, Value outer, Value row);
  Value pullHeadNorm(HeadNormOp op, const Place &place);

  // Stores.cpp: where the values of a unit go.
  struct Output {
    Value value;  // what the kind yields
    Value memory; // its buffer; null for a cache
  };
  void forUnits(Value begin, Value end, function_ref<void(UnitGroups, Value unit)> body,
                function_ref<void(mk_task::SegmentAttr, Value outer)> enter = nullptr);
  UnitGroups groupsAt(mk_task::SegmentAttr segment, Value outer, Value within);
  void forGroups(mk_task::SegmentAttr segment, Value outer, function_ref<void(UnitGroups)> body);
  /// The accumulator (or result) column under column 0 of the value.
  int64_t origin(Value value);
  void storeUnit(Value row, Value unit);
  void storeRows(Value value, Value memory, Value row);
  void storeArgmax(ArgmaxPartialOp op, Value memory, Value row, Value unit);
  void storeCache(KvAppendOp op, Value row);
  void storeKeyGroup(Value block, Value vector, Value dim, Value position, Value valid,
                     int64_t headDim, Type element);
  /// Base address in the pool of the block of a page of one layer and head.
  Value cacheBlock(CacheType type, Value layer, Value slot, Value pageNumber, Value head);
  bool covers(mk_task::SegmentAttr segment, Value value);

  // The classes of kinds.
  LogicalResult emitTiles(); // Tiles.cpp
  Value stageRows(LinearOp linear, Value count);
  /// Rows [0, count) times a tile; `finish` finds each row's accumulators in `groups`. `acc` has
  /// [mostBlockRows(), 2, lanes] numbers.
  void emitTile(Value tile, Value rows, Value count, Value acc,
                function_ref<void(Value row)> finish);
  int64_t mostBlockRows();
  LogicalResult emitExperts();        // Experts.cpp
  LogicalResult emitColumns();        // Stores.cpp
  LogicalResult emitAttend();         // Attend.cpp
  LogicalResult emitSerial();         // Serial.cpp
  void emitTopkRoute(TopkRouteOp op); // Route.cpp
  void emitArgmaxReduce(ArgmaxReduceOp op);
  LogicalResult emitSample(SampleOp op);
  void emitAcrossRows(AcrossRowsOp op);
  void emitAdvance(AdvanceOp op);
  void emitFinish();

  CodeBuilder &b;
  mk_task::ProgramOp program;
  mk_task::KindOp kind;
  Value context, instruction;
  Value privateBase; // bytes from the start of the scratch arena to this worker's part
  TargetAttr target;
  OptionsAttr options;
  int64_t lanes;
  bool nativeBf16;
  int64_t scratch = 0;

  DenseMap<Value, Value> memory; // kind argument -> view; a cache argument -> its layer number
  DenseMap<Value, mk_task::WeightOp> tiled; // embedding table that lies in tiles
  SmallVector<Output> outputs;
  DenseMap<Operation *, Value>
      prepared; // norm -> 1 / rms of the row or head; combine -> weights of the ranges
  DenseMap<Operation *, Value> means; // layer norm -> mean of the row
  UnitGroups groups;                  // while an epilogue is emitted
};

} // namespace mlir::mk

#endif // MK_PASSES_CPU_KINDEMITTER_H
