// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of an `attend` kind: some query heads of one token against the positions of one range,
// block by block as the loader brings them, long before there is a query. What the step itself adds
// to the cache is not there yet; it comes as rows beside the query and is put in its place. A team
// of warps has an item, the others let its blocks pass. The warps of a team have a softmax each, of
// positions that do not depend on the step, and are joined in their order: the same bits in every
// batch.
#include "passes/cpu/Elementwise.h"
#include "passes/gpu/AttendBlock.h"
#include "passes/gpu/GpuEmitter.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::mk;

/// The words of an item in the result: sums, and the pair of largest score and weight.
void GpuEmitter::eachColumn(AttendItems &items, Item item, Value thread, int64_t threads,
                            OfItem body) {
  auto op = cast<AttendOp>(kind.getAnchor());
  int64_t headDim = items.headDim, splits = op.getSplits(), columns = getColumns(op.getQuery());
  b.loop(thread, b.index(items.together * headDim), b.index(threads), [&](Value i) {
    Value h = b.div(i, headDim), dim = b.rem(i, headDim), head = b.add(items.firstHead(item), h);
    Value place = b.add(b.mul(head, splits), item.range);
    Value sum = b.add(b.mul(place, headDim), position(dim, mk_task::Order::fragments));
    Value pair = b.mul(b.add(place, columns * splits / 2), 2);
    b.when(b.less(head, items.endOfHeads(item)), [&] { body(h, dim, sum, pair); });
  });
}

FailureOr<RingPlace> GpuEmitter::emitAttend() {
  auto op = cast<AttendOp>(kind.getAnchor());
  CacheType cache = op.getCache().getType();
  if (!cache.getElementType().isBF16())
    return refuse(op, "expects a cache of bf16");
  if (int64_t columns = cache.getHeadDim();
      !llvm::isPowerOf2_64(columns) || columns < 32 || columns > 256)
    return refuse(op, "expects heads of 32, 64, 128 or 256 columns");
  if (op.getNewRows().empty())
    return refuse(op, "expects the keys and values of the step as rows: run mk-forward-kv before");
  bool made = !op.getPrologue().empty();
  if (made && failed(checkPrologue(op)))
    return failure();
  const Memory &positions = memoryOf(op.getPositions()), &slots = memoryOf(op.getSlots());
  if (positions.arena != "header" || slots.arena != "header")
    return refuse(op, "expects the positions and slots of the request");

  AttendItems items(b, kind, options, most);
  int64_t headDim = items.headDim, perRow = headDim / 8;
  Type i32 = b.getI32Type();
  Value warp = b.div(thread, 32), lane = b.rem(thread, 32), g = b.div(lane, 4), t = b.rem(lane, 4);
  constexpr int64_t kTeam = AttendItems::kTeam, kTeams = AttendItems::kTeams,
                    kPerWarp = AttendItems::kPerWarp;
  Value team = b.div(warp, kTeam), inTeam = b.rem(warp, kTeam);
  auto joinTeam = [&] {
    b.create<NVVM::BarrierOp>(b.addI32(b.toI32(team), b.integer(2)), b.integer(kTeam * 32));
  };
  Memory query = memoryOf(op.getQuery()), partials = *outputs[0].memory;
  Value merged = shared(layout.scratch, {kConsumerWarps, items.together, headDim + 4}, f32());
  Value merged2 =
      shared(layout.scratch, {kConsumerWarps, items.together, headDim / 2 + 2}, vectorOf(2, f32()));
  bool narrow = query.type.getElementType().isBF16();
  Value full = layout.full(b), empty = layout.empty(b);
  Value used = SharedLayout::flag(b, SharedLayout::kUsed);
  // The last position that a row sees is its own, or that of its whole entry.
  auto positionOf = [&](Value token) { return b.toIndex(load(positions, token, token)); };
  bool whole = bool(findSeen(program, kind));
  Memory owns = positions;
  if (whole)
    owns.offset = b.index(SharedLayout::headerOf("positions"));
  auto ownOf = [&](Value token) { return b.toIndex(load(owns, token, token)); };

  Value begin = field("begin"), width = b.sub(field("end"), begin);

  // A chunk of a row of the step, for the lanes of a warp side by side.
  Value chunk = b.rem(lane, perRow);
  auto loadRow = [&](Item item, Value row) {
    SmallVector<Value> result;
    for (Value source : op.getNewRows())
      result.push_back(
          loadWords(memoryOf(source), 4, {row, b.add(b.mul(item.kvHead, perRow), chunk)}));
    return result;
  };
  // Operand A of the scores, rounded as the keys are, with a head in each row; then the token's own
  // key and value. Heads that do not exist repeat the last one.
  auto loadFresh = [&](Item item) {
    SmallVector<Value> result;
    Value head = b.min(b.add(items.firstHead(item), g), b.sub(items.endOfHeads(item), b.index(1)));
    for (int64_t j = 0; j < headDim / 32; ++j) {
      Value column = b.add(b.mul(head, headDim), b.mul(b.add(t, 4 * j), 8));
      if (narrow) { // as they are multiplied
        Value words = loadWords(query, 4, {item.token, b.div(column, 8)});
        for (int64_t e = 0; e < 4; ++e)
          result.push_back(b.element(words, e));
        continue;
      }
      // Columns side by side, also of a record, whose rows are no multiple of 16 bytes apart.
      int64_t each = query.records ? 2 : 4;
      SmallVector<Value> x;
      for (int64_t i = 0; i < 8 / each; ++i) {
        Value some = loadWords(query, each, {item.token, b.add(b.div(column, each), i)});
        for (int64_t e = 0; e < each; ++e)
          x.push_back(b.create<arith::BitcastOp>(f32(), b.element(some, e)));
      }
      for (int64_t e = 0; e < 8; e += 2)
        result.push_back(b.packPair(x[e], x[e + 1]));
    }
    result.append(loadRow(item, item.token));
    return result;
  };

  // Whether a position is one of those of the warp from `first` on.
  auto isIn = [&](Value position, Value first) -> Value {
    return b.create<arith::CmpIOp>(arith::CmpIPredicate::ult, b.sub(position, first),
                                   b.index(kPerWarp));
  };
  // Rows of the step, other than the token's own, with one of the warp's positions: a bit for each.
  auto findRows = [&](Item item, Value first, Value own) -> Value {
    Value row = b.rem(lane, kMaxRows);
    Value here = ownOf(row);
    Value sees = b.less(here, own);
    if (whole)
      sees = b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, here, own);
    Value found = b.both(b.equal(load(slots, row, row), load(slots, item.token, item.token)),
                         b.both(b.less(lane, frame.tokens), sees));
    found = b.both(found, isIn(here, first));
    return b.create<NVVM::VoteBallotOp>(i32, b.integer(-1), found);
  };
  double cap = op.getSoftcap().convertToDouble();
  Value scale = b.constant(f32(), op.getScale().convertToDouble() / (cap ? cap : 1));
  auto scoreOf = [&](Value product) {
    Value score = b.fmul(product, scale);
    return cap ? b.fmul(makeTanh(b, score), b.constant(f32(), cap)) : score;
  };
  // A block of item `of`, which is that of this team or not.
  auto addBlock = [&](Value of, Item item, Value mine, Value number, Value last, Value own,
                      ArrayRef<Value> fresh, RingPlace place, Softmax before) {
    SmallVector<RingPlace> places;
    for (int64_t s = 0; s < items.slots(); ++s) {
      b.create<mk_cta::RingHoldsOp>(ValueRange{of, number, b.index(s)});
      watch().awaitFull(full, place);
      places.push_back(place);
      place = b.next(place, layout.stages);
    }
    Value range = items.rangeOf(item, last);
    Value first = b.add(items.firstOf(range, number), b.mul(inTeam, kPerWarp));
    Value begin = items.window ? items.beginOf(range, last) : Value(),
          end = items.endOf(range, last);
    Value some = b.both(mine, b.less(first, end));
    if (begin)
      some = b.both(some, b.less(begin, b.add(first, kPerWarp)));
    SmallVector<Value> state = before.values();
    state = b.choose(
        ValueRange(state).getTypes(), some,
        [&] {
          // Read anew: what follows from the lane alone would be kept in registers around the
          // items.
          AttendBlock block(b, items, layout, b.create<mk_cta::ThreadOp>(), places, first);
          auto put = [&](Value position, Value key, Value value) {
            b.when(b.less(lane, b.index(perRow)), [&] {
              block.replace(position, chunk, key, value);
              b.create<mk_cta::ProxyFenceOp>();
            });
          };
          b.when(isIn(own, first), [&] { put(own, fresh[fresh.size() - 2], fresh.back()); });
          b.loopWhile(
              findRows(item, first, own),
              [&](ValueRange left) -> Value {
                return b.create<arith::CmpIOp>(arith::CmpIPredicate::ne, left[0], b.integer(0));
              },
              [&](ValueRange left) {
                Value row = b.toIndex(b.create<math::CountTrailingZerosOp>(left[0]));
                auto load = [&] { return loadRow(item, row); };
                if (made) {
                  HeadColumns columns = columnsOfHead(headDim);
                  block.replaceColumns(ownOf(row), columns, makeRow(op, item, row, columns));
                  b.create<mk_cta::ProxyFenceOp>();
                } else {
                  SmallVector<Value> words = whenWritten(load, /*together=*/true);
                  put(ownOf(row), words[0], words[1]);
                }
                Value less = b.create<arith::SubIOp>(left[0], b.integer(1));
                return SmallVector<Value>{b.create<arith::AndIOp>(left[0], less)};
              });
          auto clear = [&](Value from, Value to) {
            b.when(b.less(from, to), [&] {
              block.clear(from, to);
              b.create<mk_cta::ProxyFenceOp>();
            });
          };
          clear(b.sub(end, first), b.index(kPerWarp));
          if (begin)
            clear(b.index(0), b.sub(begin, first));
          b.syncWarp();
          return block.add(before, begin, end, fresh.drop_back(2), scoreOf).values();
        },
        [&] { return before.values(); });
    // Of every four sums of a thread one: they follow from all that the warp has read, if it has.
    SmallVector<Value> read;
    for (size_t n = 2; n < state.size(); n += 4)
      read.push_back(state[n]);
    for (RingPlace at : places)
      b.create<mk_cta::RingReleaseOp>(empty, b.toIndex(at.slot), read, Value());
    b.when(b.equal(thread, b.index(0)), [&] { b.write(place.used, used, b.index(0)); });
    return std::pair(Softmax::of(state), place);
  };

  Deal deal;
  Value kept; // the ranges of a run
  auto storeItem = [&](Item item, const Softmax &state) {
    auto sum = [&](Value x, Value y) { return b.fadd(x, y); };
    Value weight = b.reduceLanes(state.weight, 4, sum);
    joinTeam(); // nobody reads the item before
    b.when(b.less(g, b.index(items.together)), [&] {
      for (size_t n = 0; n < state.sums.size(); n += 2)
        b.write(b.pack({state.sums[n], state.sums[n + 1]}), merged2,
                {warp, g, b.add(t, int64_t(n) * 2)});
      b.when(b.equal(t, b.index(0)), [&] {
        b.write(b.pack({state.top, weight}), merged2, {warp, g, b.index(headDim / 2)});
      });
    });
    joinTeam();
    Value inside = b.rem(thread, kTeam * 32), firstWarp = b.mul(team, kTeam);
    eachColumn(items, item, inside, kTeam * 32,
               [&](Value h, Value dim, Value sumPlace, Value pairPlace) {
                 auto of = [&](int64_t w, Value column) {
                   return b.read(merged, {b.add(firstWarp, w), h, column});
                 };
                 SmallVector<Value> tops;
                 for (int64_t w = 0; w < kTeam; ++w)
                   tops.push_back(of(w, b.index(headDim)));
                 Value top = tops[0];
                 for (Value other : ArrayRef<Value>(tops).drop_front())
                   top = b.fmax(top, other);
                 Value weight = b.constant(f32(), 0.0), total = weight;
                 for (int64_t w = 0; w < kTeam; ++w) {
                   Value keep = b.fastExp(b.fsub(tops[w], top));
                   weight = b.fma(keep, of(w, b.index(headDim + 1)), weight);
                   total = b.fma(keep, of(w, dim), total);
                 }
                 auto put = [&](function_ref<void(Value x, int64_t column, Value place)> store) {
                   store(total, -1, sumPlace);
                   b.when(b.equal(dim, b.index(0)), [&] {
                     store(top, headDim, pairPlace);
                     store(weight, headDim + 1, b.add(pairPlace, 1));
                   });
                 };
                 auto pass = [&] {
                   put([&](Value x, int64_t, Value place) {
                     storeWord(b.create<arith::BitcastOp>(i32, x), partials, item.token, place);
                   });
                 };
                 auto keep = [&] {
                   put([&](Value x, int64_t column, Value) {
                     b.write(x, kept, {item.range, h, column < 0 ? dim : b.index(column)});
                   });
                 };
                 deal.joined ? b.when(deal.joined, keep, pass) : pass();
               });
  };

  // Items in the order of the ring, the teams in turn; what a team's next one needs of the step is
  // under way meanwhile.
  auto work = [&] {
    deal = items.deal([&](auto size) { return sizeOf(size, /*before=*/false); });
    if (deal.joined)
      kept = shared(layout.scratch + AttendItems::meetingBytes(op),
                    {items.room, items.together, headDim + 4}, f32());
    Value count = items.count(deal, begin, width);
    auto itemAt = [&](Value i) {
      Value number = b.min(items.number(deal, i, begin, width), b.sub(deal.items, b.index(1)));
      return items.decode(number, deal);
    };
    auto bodyOf = [&](Item item) { return [&, item] { return loadFresh(item); }; };
    // Words under way are waited for wherever their registers are used again: none without an item.
    // Of long heads there are no registers for them beside the sums.
    SmallVector<Type> typesOfFresh(headDim / 32 *
                                       (query.records ? 4
                                        : narrow      ? 1
                                                      : 2),
                                   vectorOf(query.records ? 2 : 4, i32));
    typesOfFresh.append(2, vectorOf(4, i32));
    auto none = [&](ArrayRef<Type> types) {
      return llvm::map_to_vector(types, [&](Type type) -> Value {
        return b.create<arith::ConstantOp>(cast<TypedAttr>(b.getZeroAttr(type)));
      });
    };
    bool ahead = headDim <= 64 && !made;
    Words next;
    auto under = [&](Value i) {
      return b.choose(
          typesOfFresh, b.less(i, count),
          [&] {
            next = issue(bodyOf(itemAt(i)));
            return next.values;
          },
          [&] { return none(typesOfFresh); });
    };
    SmallVector<Value> init = frame.ring.values();
    if (ahead)
      init.append(under(team));
    SmallVector<Value> done =
        b.loop(b.index(0), count, b.index(1), init, [&](Value i, ValueRange carried) {
          Item item = itemAt(i);
          Value mine = b.equal(b.rem(i, kTeams), team);
          ValueRange words = carried.drop_front(3);
          SmallVector<Value> fresh;
          if (made) {
            SmallVector<Type> types(headDim / 8, i32);
            types.append(2, vectorOf(4, i32));
            fresh = b.choose(
                types, mine, [&] { return makeFresh(op, item, items, joinTeam); },
                [&] { return none(types); });
          } else {
            fresh = b.choose(
                typesOfFresh, mine,
                [&] {
                  Words given =
                      ahead ? Words{SmallVector<Value>(words), next.flagged} : issue(bodyOf(item));
                  return settle(given, bodyOf(item), /*together=*/true);
                },
                [&] { return ahead ? SmallVector<Value>(words) : none(typesOfFresh); });
            fresh = replay(fresh, bodyOf(item));
          }
          Value last = positionOf(item.token), own = whole ? ownOf(item.token) : last;
          Value range = items.rangeOf(item, last);
          Value end = items.endOf(range, last), first = items.firstOf(range, b.index(0));
          Value seen = b.max(b.index(0), b.sub(end, first)), skipped = b.index(0);
          if (items.window)
            skipped = b.div(b.sub(items.beginOf(range, last), first), AttendItems::kBlock);
          Value blocks = b.div(b.add(seen, AttendItems::kBlock - 1), AttendItems::kBlock);
          SmallVector<Value> state(carried.take_front(3));
          state.append(AttendBlock::nothing(b, items).values());
          state = b.loop(skipped, blocks, b.index(1), state, [&](Value number, ValueRange at) {
            auto [after, place] = addBlock(i, item, mine, number, last, own, fresh,
                                           RingPlace::of(at), Softmax::of(at.drop_front(3)));
            SmallVector<Value> both = place.values();
            both.append(after.values());
            return both;
          });
          b.when(b.both(mine, b.less(skipped, blocks)),
                 [&] { storeItem(item, Softmax::of(ValueRange(state).drop_front(3))); });
          SmallVector<Value> result(ValueRange(state).take_front(3));
          if (deal.joined)
            b.when(items.endsRun(deal, item), [&] { joinOnChip(items, item, kept); });
          if (ahead)
            result.append(b.choose(
                words.getTypes(), mine, [&] { return under(b.add(i, kTeams)); },
                [&] { return SmallVector<Value>(words); }));
          return result;
        });
    return SmallVector<Value>(ValueRange(done).take_front(3));
  };
  clearItems(items, partials, begin, width);
  Waiter waiter{b, frame.context, frame.worker, thread};
  // Few CTAs have items, and a warp of them has few words to look at: no hint is sooner.
  Value arrived = b.choose(
      b.getI1Type(), waiter.onlyHints(frame.instruction), [&] { return b.integer(1, 1); },
      [&] { return waiter.wait(frame.instruction, frame.number, frame.step); });
  SmallVector<Value> ring = frame.ring.values();
  return RingPlace::of(b.choose(ValueRange(ring).getTypes(), arrived, work, [&] { return ring; }));
}
