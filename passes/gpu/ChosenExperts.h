// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which experts a step has chosen, and how their tiles lie in the stream: the loader brings what
// the consumers use, in the same order, and each half finds that out from the rows of the route.
#ifndef MK_PASSES_GPU_CHOSENEXPERTS_H
#define MK_PASSES_GPU_CHOSENEXPERTS_H

#include "dialects/mk_task/MkTask.h"
#include "passes/gpu/SharedLayout.h"

namespace mlir::mk {

/// Who waits for the words of a route.
struct RouteReader {
  Value context, worker, number, step;
  bool loader; // or a warp of the consumers
};

/// What an instruction of an `experts` kind reads its experts from, and the list of them in shared
/// memory: those that a token of the step has chosen, in ascending order.
class ChosenExperts {
public:
  /// `route`: its first word, in bytes of the activations; `pitch`: bytes of its rows.
  ChosenExperts(GpuBuilder &b, const SharedLayout &layout, mk_task::KindOp kind, Value route,
                int64_t pitch, RouteReader reader);

  /// One warp waits for the words of the `tokens` rows, and writes what the functions below read.
  /// Nobody may still read what an earlier instruction left.
  void find(Value tokens);
  Value count() { return b.toIndex(b.read(list(), b.index(0))); }
  Value expert(Value i) { return b.toIndex(b.read(list(), b.add(i, 1))); }

  // Only consumers know what follows.
  /// Whether a token has chosen the expert, an i1, and how many with lower numbers it has too.
  std::pair<Value, Value> rankOf(Value token, Value expert);
  /// A token that has chosen expert number i of the list.
  Value someToken(Value i) { return b.toIndex(b.read(tokens(), i)); }
  /// What the route says of a token's expert, by its rank.
  Value weightOf(Value token, Value rank) { return b.read(weights(), {token, rank}); }

  /// Units whose tiles of one expert follow each other in the ring: of longer tasks the experts
  /// come again. Not a matter of how many tokens there are, since the order of the ring is not.
  static constexpr int64_t kUnits = 4;
  /// Experts whose numbers a lane of the warp keeps in registers.
  static constexpr int64_t kMost = 1024;
  /// Where a chunk of a tile lies in the stream of a task of `units` units: its tiles come expert
  /// by expert.
  Value offsetOf(Value stream, Value expert, Value units, Value unit, Value chunk);
  /// Bytes of the shared memory that a list of the loader, or of the consumers, takes.
  static int64_t listBytes(mk_task::KindOp kind, bool ofLoader);
  static int64_t chosenOf(mk_task::KindOp kind);
  static int64_t expertsOf(mk_task::KindOp kind);

  mk_task::FragmentTile tile;

private:
  int64_t groups() const { return llvm::divideCeil(experts, 32); }
  Value list() { return b.shared(place, {experts + 1}, b.getI32Type()); }
  Value tokens() { return b.shared(place + 4 * (experts + 1), {experts}, b.getI32Type()); }
  Value masks(bool before) {
    int64_t first = place + 4 * (2 * experts + 1) + (before ? 4 * kMaxRows * groups() : 0);
    return b.shared(first, {kMaxRows, groups()}, b.getI32Type());
  }
  Value weights() {
    int64_t first = place + 4 * (2 * experts + 1) + 8 * kMaxRows * groups();
    return b.shared(first, {kMaxRows, chosen}, b.getF32Type());
  }
  SmallVector<Value> wordsOf(ValueRange rows);
  SmallVector<Value> waitForWords(ValueRange rows);

  GpuBuilder &b;
  int64_t experts, chosen, place;
  Value words, lane;
  RouteReader reader;
};

} // namespace mlir::mk

#endif // MK_PASSES_GPU_CHOSENEXPERTS_H
