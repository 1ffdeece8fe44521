// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of an `attend` kind. The work is a list of items (range of positions, block of tokens,
// kv head); share u of U takes the items i with i mod U = u. Within an item, neighbouring tokens of
// one slot and the query heads of the kv head are rows that share every key and value: scores are a
// `mk_cta.matmul` whose tile is a page of keys (its positions are the lanes), softmax runs page by
// page with a running maximum, and values are accumulated in registers. A row passes through the
// same arithmetic whatever shares its item, and a fully masked page multiplies by 1 and adds 0, so
// its result does not depend on the batch. With a window the ranges of a run are numbered from the
// first that one of its tokens sees, and a page before all of their windows is not read.
#include "passes/cpu/Elementwise.h"
#include "passes/cpu/KindEmitter.h"
#include "passes/cpu/Ranges.h"

#include <set>

using namespace mlir;
using namespace mlir::mk;

namespace {
/// Tokens of one item: more share each page of keys, fewer balance better.
constexpr int64_t kBlockTokens = 16;
/// Vectors of one value row that stay in registers at once, and rows of one block.
constexpr int64_t kValueVectors = 4;
} // namespace

LogicalResult KindEmitter::emitAttend() {
  auto op = cast<AttendOp>(kind.getAnchor());
  CacheType cache = op.getCache().getType();
  Type element = cache.getElementType(), f32 = b.getF32Type();
  int64_t perWord = mk_cta::elementsPerWord(element), headDim = cache.getHeadDim(),
          page = options.getPage();
  int64_t heads = cache.getHeads(), queryHeads = getColumns(op.getQuery()) / headDim,
          group = queryHeads / heads;
  int64_t split = op.getSplit(), splits = op.getSplits(), window = op.getWindow();
  // A unit of the cache may hold half heads, and a key is written word by word.
  if (headDim % (2 * perWord) != 0 || page % lanes != 0 || split % page != 0)
    return refuse(
        op,
        "expects half heads of whole words, a page of whole registers and a split of whole pages");
  if (!op.getNewRows().empty())
    return refuse(op, "expects to read all positions from the cache");
  int64_t registers = lanes >= 16 ? 24 : 12, most = kBlockTokens * group;
  int64_t pageVectors = page / lanes, dimVectors = llvm::divideCeil(headDim, lanes),
          padded = dimVectors * lanes;

  Value queries = allocate({most, int64_t(llvm::alignTo(headDim, lanes))}, element);
  int64_t scoresPlace = scratch;
  Value scores = allocate({most, page}, f32);
  Value sums = allocate({most, padded}, f32);
  Value tops = allocate({most}, f32), totals = allocate({most}, f32),
        rescales = allocate({most}, f32);
  Value positions = memoryOf(op.getPositions()), slots = memoryOf(op.getSlots()),
        query = memoryOf(op.getQuery());
  Value layer = memoryOf(op.getCache()), partials = outputs[0].memory;
  auto positionOf = [&](Value token) { return b.toIndex(read(positions, token)); };

  Value count = rowCount(mk_task::Domain::tokens);
  Value zero = b.index(0), one = b.index(1);
  auto lastPosition = [&](Value from, Value to) {
    return b.loop(from, to, one, zero, [&](Value token, ValueRange carried) {
      return SmallVector<Value>{b.max(carried[0], positionOf(token))};
    })[0];
  };
  Value blocks = b.div(b.add(count, kBlockTokens - 1), kBlockTokens);
  Value ranges = b.add(b.div(lastPosition(zero, count), split), 1);
  if (window) // what the windows of a run meet: its tokens have neighbouring positions
    ranges = b.min(ranges, b.index((window + kBlockTokens + split - 3) / split + 1));
  Value items = b.mul(b.mul(ranges, blocks), heads);

  // Rows [0, to) in blocks of `limit`, what is left in blocks of half of it, then of 1:
  // body(first row, rows of the block).
  auto rowBlocks = [&](Value to, int64_t limit, function_ref<void(Value, int64_t)> body) {
    Value start = zero;
    // Small limits coincide with their halves; a size that comes twice would be code without rows.
    std::set<int64_t, std::greater<>> sizes = {limit, std::max<int64_t>(limit / 2, 1), 1};
    for (int64_t size : sizes) {
      Value stop = b.sub(to, b.createOrFold<arith::RemUIOp>(b.sub(to, start), b.index(size)));
      b.loop(start, stop, b.index(size), [&](Value row) { body(row, size); });
      start = stop;
    }
  };

  // One run of tokens [first, last) of one slot, in one range of positions, for one kv head. What
  // it reads are the positions from `begin` to `end`.
  auto attendRun = [&](Value first, Value last, Value slot, Value range, Value head, Value begin,
                       Value end) {
    Value low = b.mul(range, split), rows = b.mul(b.sub(last, first), group);
    auto tokenOf = [&](Value row) { return b.add(first, b.div(row, group)); };
    b.loop(zero, rows, one, [&](Value row) {
      Value token = tokenOf(row),
            from = b.mul(b.add(b.mul(head, group), b.rem(row, group)), headDim);
      for (int64_t d = 0; d < headDim; d += lanes) {
        Value valid = d + lanes > headDim ? b.index(headDim - d) : Value();
        store(load(query, {token, {from, d}, lanes, valid}), queries,
              {row, {nullptr, d}, lanes, nullptr});
      }
      write(b.constant(f32, -1e30), tops, row);
      write(b.constant(f32, 0.0), totals, row);
      for (int64_t d = 0; d < padded; d += lanes)
        store(b.constant(vector(f32, lanes), 0.0), sums, {row, {nullptr, d}, lanes, nullptr});
    });

    Value stop = b.min(b.add(low, split), b.add(end, 1));
    Value start = window ? b.max(low, begin) : low;
    b.loop(b.div(start, page), b.div(b.add(stop, page - 1), page), one, [&](Value pageNumber) {
      Value block = cacheBlock(cache, layer, slot, pageNumber, head);
      Value keys = view("kv", block, {headDim / perWord, pageVectors, lanes * perWord},
                        {page * perWord, lanes * perWord, 1}, element);
      int64_t keyBytes = headDim * page * element.getIntOrFloatBitWidth() / 8;
      Value values = view("kv", b.add(block, keyBytes), {page, headDim}, {headDim, 1}, element);

      auto layout =
          StridedLayoutAttr::get(b.getContext(), 0, {int64_t(llvm::alignTo(headDim, lanes)), 1});
      Value queryRows = b.create<memref::ReinterpretCastOp>(
          MemRefType::get({most, headDim}, element, layout), queries, 0,
          ArrayRef<int64_t>{most, headDim},
          ArrayRef<int64_t>{int64_t(llvm::alignTo(headDim, lanes)), 1});
      rowBlocks(rows, std::max<int64_t>(1, registers / pageVectors), [&](Value row, int64_t size) {
        Value acc = view("scratch", b.add(privateBase, b.add(b.mul(row, page * 4), scoresPlace)),
                         {size, pageVectors, lanes}, {page, lanes, 1}, f32);
        b.create<mk_cta::MatmulOp>(keys, queryRows, row, acc, size);
      });

      Value scale = b.constant(vector(f32, lanes), op.getScale().convertToDouble());
      Value masked = b.constant(vector(f32, lanes), -1e30),
            nothing = b.constant(masked.getType(), 0.0);
      double cap = op.getSoftcap().convertToDouble();
      Value softcap = cap ? b.constant(masked.getType(), cap) : Value();
      b.loop(zero, rows, one, [&](Value row) {
        // Positions of this page that the token may see: the first `seen`, but the first `past`.
        Value from = b.mul(pageNumber, page), position = positionOf(tokenOf(row));
        Value seen = b.add(b.sub(position, from), 1);
        Value past = window ? b.sub(firstSeen(b, position, window), from) : Value();
        SmallVector<Value> score(pageVectors), exists(pageVectors);
        Value best;
        auto firstLanes = [&](Value count, int64_t v) -> Value {
          Value inVector = b.max(zero, b.min(b.sub(count, b.index(v * lanes)), b.index(lanes)));
          return b.create<vector::CreateMaskOp>(vector(b.getI1Type(), lanes), ValueRange(inVector));
        };
        for (int64_t v = 0; v < pageVectors; ++v) {
          Value raw = load(scores, {row, {nullptr, v * lanes}, lanes, nullptr});
          exists[v] = firstLanes(seen, v);
          if (window) // the first of the window is not behind the token
            exists[v] = b.create<arith::XOrIOp>(exists[v], firstLanes(past, v));
          Value scaled = b.fmul(raw, scale);
          if (softcap)
            scaled = b.fmul(makeTanh(b, b.fdiv(scaled, softcap)), softcap);
          score[v] = b.create<arith::SelectOp>(exists[v], scaled, masked);
          best = best ? b.fmax(best, score[v]) : score[v];
        }
        Value before = read(tops, row), top = b.fmax(before, b.maxLanes(best));
        Value rescale = b.exp(b.fsub(before, top)), topLanes = b.splat(top, lanes);
        Value total;
        for (int64_t v = 0; v < pageVectors; ++v) {
          Value weight = b.exp(b.fsub(score[v], topLanes));
          if (window) // a page may have nothing yet that the row sees: then all scores are the top
            weight = b.create<arith::SelectOp>(exists[v], weight, nothing);
          store(weight, scores, {row, {nullptr, v * lanes}, lanes, nullptr});
          total = total ? b.fadd(total, weight) : weight;
        }
        write(top, tops, row);
        write(rescale, rescales, row);
        write(b.fma(read(totals, row), rescale, b.sumLanes(total)), totals, row);
      });

      // No further than the run's last position: what lies beyond may be left of another sequence,
      // even NaN.
      Value written = b.min(b.index(page), b.sub(b.add(end, 1), b.mul(pageNumber, page)));
      for (int64_t d = 0; d < dimVectors; d += kValueVectors) {
        int64_t vectors = std::min(kValueVectors, dimVectors - d);
        rowBlocks(rows, std::max<int64_t>(1, registers / vectors), [&](Value row, int64_t size) {
          auto sumPlace = [&](int64_t r, int64_t v) {
            return Place{b.add(row, r), {nullptr, (d + v) * lanes}, lanes, nullptr};
          };
          SmallVector<Value> init;
          for (int64_t r = 0; r < size; ++r) {
            Value rescale = b.splat(read(rescales, b.add(row, r)), lanes);
            for (int64_t v = 0; v < vectors; ++v)
              init.push_back(b.fmul(load(sums, sumPlace(r, v)), rescale));
          }
          SmallVector<Value> result =
              b.loop(zero, written, one, init, [&](Value p, ValueRange carried) {
                SmallVector<Value> row_values(vectors), next;
                for (int64_t v = 0; v < vectors; ++v) {
                  int64_t from = (d + v) * lanes;
                  Value valid = from + lanes > headDim ? b.index(headDim - from) : Value();
                  row_values[v] = load(values, {p, {nullptr, from}, lanes, valid});
                }
                for (int64_t r = 0; r < size; ++r) {
                  Value weight = b.splat(read(scores, {b.add(row, r), p}), lanes);
                  for (int64_t v = 0; v < vectors; ++v)
                    next.push_back(b.fma(weight, row_values[v], carried[r * vectors + v]));
                }
                return next;
              });
          for (int64_t r = 0; r < size; ++r)
            for (int64_t v = 0; v < vectors; ++v)
              store(result[r * vectors + v], sums, sumPlace(r, v));
        });
      }
    });

    auto storeRow = [&](Value row, Value token, Value number) {
      Value queryHead = b.add(b.mul(head, group), b.rem(row, group));
      Value to = b.mul(b.add(b.mul(queryHead, splits), number), headDim + 2);
      for (int64_t d = 0; d < headDim; d += lanes) {
        Value valid = d + lanes > headDim ? b.index(headDim - d) : Value();
        store(load(sums, {row, {nullptr, d}, lanes, nullptr}), partials,
              {token, {to, d}, lanes, valid});
      }
      write(read(tops, row), partials, {token, b.add(to, headDim)});
      write(read(totals, row), partials, {token, b.add(to, headDim + 1)});
    };
    b.loop(zero, rows, one, [&](Value row) {
      Value token = tokenOf(row);
      if (!window)
        return storeRow(row, token, range);
      // The run's range may be none of this token's, and then has no place among them.
      Value position = positionOf(token);
      Value number = b.sub(range, firstRange(b, position, window, split));
      Value has = b.create<arith::CmpIOp>(arith::CmpIPredicate::ule, number,
                                          lastRange(b, position, window, split));
      b.when(has, [&] { storeRow(row, token, number); });
    });
  };

  Value shares = b.index(*kind.getUnits());
  b.loop(field("begin"), field("end"), one, [&](Value share) {
    b.loop(share, items, shares, [&](Value item) {
      Value head = b.rem(item, heads), rest = b.div(item, heads);
      Value block = b.createOrFold<arith::RemUIOp>(rest, blocks),
            range = b.createOrFold<arith::DivUIOp>(rest, blocks);
      Value from = b.mul(block, kBlockTokens), to = b.min(b.add(from, kBlockTokens), count);
      b.loopWhile(
          from, [&](ValueRange carried) { return b.less(carried[0], to); },
          [&](ValueRange carried) {
            Value first = carried[0], slot = read(slots, first);
            // The run of the slot that begins here ends before `last`.
            Value last =
                b.loop(first, to, one, ValueRange{first}, [&](Value token, ValueRange runEnd) {
                  Value same =
                      b.create<arith::CmpIOp>(arith::CmpIPredicate::eq, read(slots, token), slot);
                  Value next = b.create<arith::CmpIOp>(arith::CmpIPredicate::eq, runEnd[0], token);
                  Value extends = b.create<arith::AndIOp>(same, next);
                  if (window) {
                    Value apart = b.sub(positionOf(token), positionOf(first));
                    Value neighbour = b.create<arith::CmpIOp>(arith::CmpIPredicate::eq, apart,
                                                              b.sub(token, first));
                    extends = b.create<arith::AndIOp>(extends, neighbour);
                  }
                  return SmallVector<Value>{
                      b.create<arith::SelectOp>(extends, b.add(token, 1), runEnd[0])};
                })[0];
            Value end = lastPosition(first, last), begin, ofRun = range;
            if (window) {
              begin = firstSeen(b, positionOf(first), window);
              ofRun = b.add(range, b.div(begin, split));
            }
            Value reached =
                b.create<arith::CmpIOp>(arith::CmpIPredicate::sge, end, b.mul(ofRun, split));
            b.when(reached,
                   [&] { attendRun(first, last, b.toIndex(slot), ofRun, head, begin, end); });
            return SmallVector<Value>{last};
          });
    });
  });
  return success();
}
