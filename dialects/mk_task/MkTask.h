// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_DIALECTS_MK_TASK_MKTASK_H
#define MK_DIALECTS_MK_TASK_MKTASK_H

#include "dialects/mk/Mk.h"

// TableGen names the type of a cache without its namespace.
namespace mlir::mk_task {
using mk::CacheType;
} // namespace mlir::mk_task

#include "dialects/mk_task/MkTaskDialect.h.inc"
#include "dialects/mk_task/MkTaskEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/mk_task/MkTaskAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/mk_task/MkTaskOps.h.inc"

namespace mlir::mk_task {

/// Words of an instruction and the index of each field.
inline constexpr int64_t kInstructionWords = 32;
inline constexpr int64_t kMaxWaits = 3;
inline constexpr int64_t kMaxOperands = 15;
/// Conditions that an instruction may have; the buffer of each is a word of its operands, counted
/// from the last. Two bits of the word `hints` say that there is one, and which side it wants.
inline constexpr int64_t kMaxConditions = 4;
inline constexpr int64_t kConditionBit = 8;
inline constexpr int64_t getConditionWord(int64_t condition) {
  return kMaxOperands - 1 - condition;
}
/// Kinds that stand for no body: the end of a worker's list, and an instruction that only waits.
inline constexpr int32_t kEndOfList = -1;
inline constexpr int32_t kOnlyWaits = -2;
/// Every offset that an instruction carries counts in units of this many bytes.
inline constexpr int64_t kAlignment = 64;
/// But for places in the streams of a GPU, which are long: there it is a block of a tile.
int64_t getStreamUnit(int64_t lanes);
/// Stop tokens that one run may have.
inline constexpr int64_t kMaxStops = 64;
enum InstructionField : int64_t {
#define MK_INSTRUCTION(name, index, doc) field_##name = index,
#include "runtime/abi/Abi.def"
};
enum ContextField : int64_t {
#define MK_CONTEXT(name, index, doc) context_##name = index,
#include "runtime/abi/Abi.def"
};

/// One array of the request block.
struct RequestArray {
  StringRef name;
  StringRef type; // i32, f32 or i64
  int64_t count;  // elements
  int64_t offset; // bytes from the start of the block
  Type getElementType(MLIRContext *context) const;
};
/// The arrays in order, for the sizes of a program; `total` receives the bytes of the block.
SmallVector<RequestArray> requestArrays(mk::OptionsAttr options, int64_t *total = nullptr);
/// The one with that name of Abi.def.
RequestArray findRequestArray(mk::OptionsAttr options, StringRef name);

/// How the 4 rows of a weight tile on a GPU are copied and multiplied: in chunks of at most 16 KB,
/// so that K may be as long as it likes while a slot of the ring and a thread's share of a row are
/// not.
struct FragmentTile {
  explicit FragmentTile(int64_t columns);
  static constexpr int64_t kBlockColumns = 64, kBlockBytes = 512, kChunkBlocks = 32;
  int64_t columns;     // K
  int64_t chunks;      // copies of a tile
  int64_t chunkBlocks; // blocks of 64 columns of each chunk; the last ones may be padding
  int64_t group;       // tiles that one copy brings, more than 1 only if a tile is one small chunk
  int64_t chunkBytes() const { return chunkBlocks * kBlockBytes; }
  int64_t bytes() const { return chunks * chunkBytes(); }
};
/// Where column c of a buffer or weight in the order `fragments` lies.
int64_t getFragmentPosition(int64_t column);

/// Whether the kind publishes the next step (mk.advance, mk.finish), which every worker awaits.
bool endsStep(KindOp kind);

/// Bytes from one tile of a `layout(tiles)` weight to the next in a worker's stream.
int64_t getTileBytes(Type weight, int64_t lanes);

} // namespace mlir::mk_task

#endif // MK_DIALECTS_MK_TASK_MKTASK_H
