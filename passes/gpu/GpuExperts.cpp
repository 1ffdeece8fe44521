// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The bodies of `experts` kinds, and that of a product with them; GpuMoeCombine.cpp has their sum.
// A task has the same tiles of every expert; of those that the step has chosen (ChosenExperts.h)
// the ring brings, for every few units, the tiles of one expert after the other. All tokens are
// multiplied by them, as by those of a `tiles` kind, and whoever has not chosen the expert is left
// out behind: what a token gets does not depend on the others.
#include "passes/gpu/GpuExperts.h"

using namespace mlir;
using namespace mlir::mk;
using mk_task::FragmentTile;

/// Words of rows that a thread may keep for all experts of a task.
static constexpr int64_t kResidentWords = 64;
static constexpr int64_t kUnits = ChosenExperts::kUnits;

LogicalResult GpuEmitter::checkExperts() {
  Operation *op = kind.getAnchor();
  RankedTensorType weight = cast<RankedTensorType>(kind.getStreamed().getType());
  int64_t chosen = ChosenExperts::chosenOf(kind);
  if (!weight.getElementType().isBF16())
    return refuse(op, "expects weights of bf16");
  if (weight.getDimSize(2) % 32)
    return refuse(op, "expects rows of a multiple of 32 columns for each expert");
  if (weight.getDimSize(0) > ChosenExperts::kMost)
    return refuse(op, "expects at most " + Twine(ChosenExperts::kMost) + " experts");
  if (isa<MoeLinearOp>(op) && getColumns(op->getResult(0)) / chosen % 32)
    return refuse(op, "expects results of a multiple of 32 columns for each expert");
  if (!memoryOf(op->getOperand(1)).flagged)
    return refuse(op, "expects a route that a task of this step makes for experts alone");
  if (YieldOp yield = getResultsYield(op))
    for (Operation &inside : yield->getBlock()->without_terminator())
      if (!isElementwise(&inside) && !isa<SliceOp>(inside))
        return refuse(&inside,
                      "cannot run on the sums of an expert: expected work on single columns");
  return success();
}

FailureOr<RingPlace> GpuEmitter::emitExperts() {
  if (failed(checkExperts()))
    return failure();
  Operation *op = kind.getAnchor();
  bool ofTokens = kind.getDomain() == mk_task::Domain::tokens;
  int64_t rows = std::min(most, ofTokens ? options.getMaxTokens() : options.getMaxRows());
  int64_t rowGroups = llvm::divideCeil(rows, kGroupRows), sumsAtOnce = 8 / rowGroups;
  auto some = [&] {
    const Memory &route = memoryOf(op->getOperand(1));
    ChosenExperts experts(b, layout, kind, route.offset, route.pitch,
                          {frame.context, frame.worker, frame.number, frame.step,
                           /*loader=*/false});
    Value begin = field("begin");
    ExpertTask task{op,
                    experts,
                    TileProducts(b, layout, watch(), experts.tile, rowGroups, thread),
                    rowGroups,
                    rowGroups * kGroupRows,
                    isa<MoeLinearOp>(op) ? sumsAtOnce : kUnits,
                    rowCount(),
                    begin,
                    b.sub(field("end"), begin),
                    b.wideMul(field("stream"), FragmentTile::kBlockBytes),
                    Value(),
                    Value()};
    SmallVector<int64_t> shape = {2, task.perBarrier, kConsumerWarps, task.most};
    auto shapeOf = [&](int64_t last) {
      SmallVector<int64_t> result = shape;
      result.push_back(last);
      return result;
    };
    task.sums = shared(layout.scratch, shapeOf(2), vectorOf(2, f32()));
    task.scalars = shared(layout.scratch, shapeOf(4), f32());
    return isa<MoeLinearOp>(op) ? emitMoeLinear(task) : emitMoeCombine(task);
  };
  return ifAnyRows(some);
}

void mk::findExperts(GpuBuilder &b, ChosenExperts &experts, Value thread, Value count,
                     RingWatch watch, Value step) {
  b.when(b.less(thread, b.index(32)), [&] { experts.find(count); });
  b.barrier();
  // Tiles say that the loader has read the route too. Without any it might still do so in the next
  // step, when these words are taken back.
  b.when(b.equal(experts.count(), b.index(0)), [&] {
    watch.awaitTold(mk_cta::RingWait::passed, SharedLayout::flag(b, SharedLayout::kRouted),
                    SharedLayout::instructionNumber(b, watch.context, step, watch.number));
  });
}

/// The words of a chunk of some rows, from a column of each on: those that this thread multiplies.
SmallVector<Value> GpuEmitter::expertRows(ExpertTask &task, Value chunk, ArrayRef<Value> rows,
                                          ArrayRef<Value> columns) {
  Value input = task.op->getOperand(0), warp = b.div(thread, 32), t = b.rem(thread, 4);
  const Memory &memory = memoryOf(input);
  SmallVector<Value> result;
  for (auto [row, first] : llvm::zip_equal(rows, columns))
    for (int64_t j = 0; j < task.perWarp(); ++j)
      for (int64_t s = 0; s < 2; ++s) {
        Value block = b.add(b.mul(chunk, task.tile().chunkBlocks), b.add(warp, j * kConsumerWarps));
        // Blocks that pad the last chunk meet zeros, but must not read beyond the row.
        Value segment = b.min(b.add(b.mul(block, 64), s * 32), b.index(task.tile().columns - 32));
        segment = b.add(segment, first);
        if (memory.type.getElementType().isBF16()) {
          Value eight = loadWords(memory, 4, {row, b.add(b.div(segment, 8), t)});
          for (int64_t e = 0; e < 4; ++e)
            result.push_back(b.element(eight, e));
          continue;
        }
        SmallVector<Value> x = pullFragment(input, {row, segment, t});
        for (int64_t e = 0; e < 8; e += 2)
          result.push_back(b.packPair(x[e], x[e + 1]));
      }
  return result;
}

RowFragments mk::fragmentsOf(ArrayRef<Value> words, int64_t rowGroups, int64_t perWarp) {
  RowFragments x;
  for (int64_t group = 0; group < rowGroups; ++group)
    for (auto &block : x.words.emplace_back(perWarp))
      for (auto &segment : block) {
        segment.assign(words.begin(), words.begin() + 4);
        words = words.drop_front(4);
      }
  return x;
}

/// With the result at the place of a row's expert number `rank`.
void GpuEmitter::atRank(Value rank, function_ref<void()> body) {
  Memory &memory = *outputs[0].memory;
  int64_t columns = memory.columns() / ChosenExperts::chosenOf(kind);
  Value before = memory.offset;
  memory.offset =
      b.wideAdd(before, b.wideMul(rank, columns * memory.type.getElementTypeBitWidth() / 8));
  body();
  memory.offset = before;
}

/// Takes back the words of a task's units for each expert of a token.
void GpuEmitter::clearRanks() {
  b.loop(b.index(0), b.index(ChosenExperts::chosenOf(kind)), b.index(1),
         [&](Value rank) { atRank(rank, [&] { clearUnits(); }); });
}

/// What the epilogue makes of the sums of a column.
void GpuEmitter::storeSums(ExpertTask &task, Value buffer, Value row, Value unit, Value inBatch,
                           Value active) {
  Value quarter = b.rem(thread, 4), inGroup = b.rem(quarter, 2);
  Value second = b.create<arith::CmpIOp>(arith::CmpIPredicate::uge, quarter, b.index(2));
  accumulator = [&](int64_t half) -> Value {
    Value column = b.add(inGroup, half * 2);
    Value total = b.read(task.scalars, {buffer, inBatch, b.index(0), row, column});
    for (int64_t w = 1; w < kConsumerWarps; ++w)
      total = b.fadd(total, b.read(task.scalars, {buffer, inBatch, b.index(w), row, column}));
    return total;
  };
  b.when(active, [&] { forSegments(unit, inGroup, [&] { storeUnit(row, second); }); });
  accumulator = nullptr;
}

RingPlace GpuEmitter::emitMoeLinear(ExpertTask &task) {
  ChosenExperts &experts = task.experts;
  int64_t together = std::min(kUnits, task.tiles.together()), atOnce = task.perBarrier / kUnits;
  Value g = b.div(b.rem(thread, 32), 4), zero = b.index(0);
  SmallVector<Value> rows, columns(task.rowGroups, zero);
  for (int64_t group = 0; group < task.rowGroups; ++group) // lanes without a token read another's
    rows.push_back(b.min(b.add(g, group * kGroupRows), b.sub(task.count, b.index(1))));
  auto bodyOf = [&](Value chunk) {
    return [&, chunk] { return expertRows(task, chunk, rows, columns); };
  };
  auto arrived = [&](const Words &words, Value chunk) {
    auto body = bodyOf(chunk);
    return fragmentsOf(replay(settle(words, body, /*together=*/true), body), task.rowGroups,
                       task.perWarp());
  };
  // The rows are the same for all experts, and are under way while the route is read.
  bool resident = task.chunks() * task.rowGroups * task.perWarp() * 8 <= kResidentWords;
  SmallVector<Words> loaded;
  for (int64_t chunk = 0; chunk < (resident ? task.chunks() : 0); ++chunk)
    loaded.push_back(issue(bodyOf(b.index(chunk))));
  clearRanks();
  findExperts(b, experts, thread, task.count, watch(), frame.step);
  SmallVector<RowFragments> whole;
  for (auto [chunk, words] : llvm::enumerate(loaded))
    whole.push_back(arrived(words, b.index(chunk)));

  Value all = experts.count(), last = b.sub(all, b.index(1));
  SmallVector<Value> carried = frame.ring.values();
  carried.push_back(zero); // which buffer of sums
  carried = b.loop(zero, task.units, b.index(kUnits), carried, [&](Value from, ValueRange state) {
    Value units = b.min(b.sub(task.units, from), b.index(kUnits));
    return b.loop(zero, all, b.index(atOnce), state, [&](Value first, ValueRange state) {
      RingPlace place = RingPlace::of(state);
      Value buffer = state[3];
      for (int64_t e = 0; e < atOnce; ++e) {
        Value number = b.add(first, e), expert = experts.expert(b.min(number, last));
        Value wanted = e ? b.select(b.less(number, all), units, zero) : units;
        SmallVector<Value> sums = task.tiles.nothing(kUnits);
        auto add = [&](const RowFragments &x, Value chunk, RingPlace at,
                       MutableArrayRef<Value> sums) {
          int64_t perUnit = sums.size() / kUnits;
          for (int64_t i = 0; i < kUnits; i += together) {
            Value offset = experts.offsetOf(task.stream, expert, task.units, b.add(from, i), chunk);
            at = task.tiles.multiply(x, b.index(i), wanted, offset, at,
                                     sums.slice(i * perUnit, together * perUnit));
          }
          return at;
        };
        if (resident) {
          for (auto [chunk, x] : llvm::enumerate(whole))
            place = add(x, b.index(chunk), place, sums);
        } else {
          SmallVector<Value> init = place.values();
          init.append(sums);
          init = b.loop(
              zero, b.index(task.chunks()), b.index(1), init, [&](Value chunk, ValueRange state) {
                RowFragments x = arrived(issue(bodyOf(chunk)), chunk);
                SmallVector<Value> to(state.drop_front(3));
                SmallVector<Value> next = add(x, chunk, RingPlace::of(state), to).values();
                next.append(to);
                return next;
              });
          place = RingPlace::of(init);
          sums.assign(init.begin() + 3, init.end());
        }
        task.tiles.store(b.index(e * kUnits), task.sums, buffer, sums);
      }
      b.barrier();
      Value row = b.rem(b.div(thread, 4), task.most), inBatch = b.div(thread, 4 * task.most);
      Value number = b.add(first, b.div(inBatch, kUnits)), inUnits = b.rem(inBatch, kUnits);
      Value exists =
          b.both(b.both(b.less(row, task.count), b.less(inUnits, units)), b.less(number, all));
      auto [has, rank] = experts.rankOf(row, experts.expert(b.min(number, last)));
      atRank(rank, [&, has = has] {
        storeSums(task, buffer, row, b.add(b.add(task.begin, from), inUnits), inBatch,
                  b.both(exists, has));
      });
      SmallVector<Value> next = place.values();
      next.push_back(b.sub(b.index(1), buffer));
      return next;
    });
  });
  return RingPlace::of(carried);
}
