// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How attention is cut into items and blocks of positions, and how a block lies in the ring: the
// loader brings what the consumers use, in the same order.
#ifndef MK_PASSES_GPU_ATTENDITEMS_H
#define MK_PASSES_GPU_ATTENDITEMS_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/CachePool.h"
#include "passes/gpu/SharedLayout.h"

namespace mlir::mk {

/// Some query heads of one token and a range of positions, by its number among those that the
/// token has. Without a window the first of these begins at position 0.
struct Item {
  Value token, range, kvHead, part;
};

/// The columns of a head that a lane of its warp has: those of number lane, lane + 32, ... of both
/// halves, which have `parts` each.
struct HeadColumns {
  Value lane;
  int64_t parts;
  Value at(GpuBuilder &b, int64_t part, bool second) const;
};

/// How a step's items are dealt to the CTAs: in runs of some that follow each other.
struct Deal {
  Value ranges, items, runs; // ranges: of a token at most
  /// Whether a run has all ranges of its heads, which the CTA then joins itself; null: never.
  Value joined;
};

struct AttendItems {
  /// For steps of at most `most` tokens.
  AttendItems(GpuBuilder &b, mk_task::KindOp kind, OptionsAttr options, int64_t most);

  /// An item is the work of so many warps, and those of a CTA have as many items at a time as there
  /// are such teams. A block of positions has some for each warp; blocks begin with their range.
  static constexpr int64_t kTeam = 4, kTeams = kConsumerWarps / kTeam, kPerWarp = 32,
                           kBlock = kTeam * kPerWarp;
  /// Query heads of an item at most: half of the rows of a tensor core product.
  static constexpr int64_t kHeads = 8;
  /// Ranges that a CTA joins at most.
  static constexpr int64_t kRoom = 8;

  GpuBuilder &b;
  CachePool pool;
  int64_t headDim, heads, group, together, parts, split, splits, page, shares, window;
  /// Ranges that a CTA can join itself; 0: this kernel leaves that to the kind behind.
  int64_t room = 0;

  int64_t blocks() const { return llvm::divideCeil(split, kBlock); }
  /// Keys and values of a block are in one slot of the ring, keys first, or in slots of their own.
  bool oneSlot() const { return 2 * kBlock * pool.rowBytes() <= kSlotBytes; }
  /// Positions whose keys, or values, one slot holds.
  int64_t rowsPerSlot() const { return std::min(kBlock, kSlotBytes / pool.rowBytes()); }
  int64_t slotsOfKeys() const { return kBlock / rowsPerSlot(); }
  int64_t slots() const { return oneSlot() ? 1 : 2 * slotsOfKeys(); }
  /// Positions that lie together both in the pool and in a slot.
  int64_t piece() const { return std::min(page, rowsPerSlot()); }

  /// Bytes of shared memory in which the warps of an item meet, and in which a range is kept.
  static int64_t meetingBytes(AttendOp op);
  static int64_t rangeBytes(AttendOp op);
  /// Ranges that fit on the chip, beside the meeting place, in what any product takes.
  static int64_t roomFor(AttendOp op);
  /// Whether the kind also has the join: see mk-join-ranges.
  static bool joins(mk_task::KindOp attend) { return attend.getYield()->getNumOperands() > 1; }
  /// The kind whose tasks also do what those of the given one do, or null.
  static mk_task::KindOp findJoiner(mk_task::ProgramOp program, mk_task::KindOp combine);

  /// `sizeOf`: of the step.
  Deal deal(function_ref<Value(SharedLayout::Size)> sizeOf);
  /// Where `deal.joined` is not null.
  Value itemsOfRun(const Deal &deal);
  /// A task has the shares from `begin` to `begin + width`: of every `shares` runs those. How many
  /// items that are, and the number of the i-th.
  Value count(const Deal &deal, Value begin, Value width);
  Value number(const Deal &deal, Value i, Value begin, Value width);
  Item decode(Value number, const Deal &deal);
  /// The items of a task whose sums go through memory.
  Value passed(const Deal &deal, Value begin, Value width);
  /// Whether all ranges of the item's heads have been had, and are to be joined here.
  Value endsRun(const Deal &deal, Item item);
  Value firstHead(Item item);
  Value endOfHeads(Item item) { return b.add(b.mul(item.kvHead, group), group); }
  /// The range of the item whose token is at `position`, by its place in the context.
  Value rangeOf(Item item, Value position);
  /// First position of a block.
  Value firstOf(Value range, Value block);
  /// The first position of the range that the token at `position` sees.
  Value beginOf(Value range, Value position);
  /// Behind the last position of the range that the token at `position` sees; not behind the
  /// range's first position if it sees none.
  Value endOf(Value range, Value position);
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_ATTENDITEMS_H
