// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The custom operator that the importer puts in place of every attention:
// torch.mk.attention(q [1,H,N,D], k [1,KH,N,D], v [1,KH,N,D], positions [N], slots [N], layer,
// scale, window, softcap, sinks [H] or none)
// -> [1,N,H,D]; the window is 0 and the softcap 0.0 where there is none. The positions are the last
// that each token sees: the step's, or an input of the function.

#include "passes/import/Conversion.h"

using namespace mlir;
using namespace mlir::mk;

/// The heads [1,H,N,D] as [1,N,H,D], with the sizes of H and D.
struct Heads {
  Meaning meaning;
  int64_t count, size;
};

static std::optional<Heads> readHeads(Conversion &conversion, Value operand) {
  Meaning heads = conversion.get(operand);
  if (std::optional<Meaning> gathered = conversion.gather(heads, false, operand.getLoc()))
    heads = *gathered;
  Axes &axes = heads.view.axes;
  if (heads.kind != Kind::Rows || heads.view.domain || axes.size() != 4 || !axes[0].isUnit() ||
      axes[1].isRow() || !axes[2].isRow() || axes[3].isRow()) {
    conversion.note("the query, keys and values must be heads [1,H,N,D] of activation rows");
    return std::nullopt;
  }
  std::swap(axes[1], axes[2]);
  return Heads{heads, axes[2].size, axes[3].size};
}

/// The input of the step that an operand is, as it is; null if it is none.
static Value getIndices(Conversion &conversion, Value operand) {
  Meaning meaning = conversion.get(operand);
  bool plain = meaning.kind == Kind::Indices && meaning.number == 0;
  return plain && meaning.view.axes.size() == 1 ? meaning.view.value : Value();
}

static std::optional<Meaning> attend(Conversion &conversion, Operation *op) {
  auto refuse = [&](const Twine &reason) -> std::optional<Meaning> {
    conversion.note(reason);
    return std::nullopt;
  };
  std::optional<Heads> query = readHeads(conversion, op->getOperand(0));
  std::optional<Heads> keys = readHeads(conversion, op->getOperand(1));
  std::optional<Heads> values = readHeads(conversion, op->getOperand(2));
  if (!query || !keys || !values)
    return std::nullopt;
  if (query->size != keys->size || keys->size != values->size)
    return refuse("the query, keys and values must have the same head size");
  if (keys->count != values->count || query->count % keys->count != 0)
    return refuse(
        "the query heads must be a multiple of the key heads, and these equal the value heads");
  // A token sees up to its own position, or up to one that the host says.
  Value positions = conversion.getInput("positions"), slots = conversion.getInput("slots");
  Value last = getIndices(conversion, op->getOperand(3));
  if ((last != positions && !conversion.isOwnIndices(last)) ||
      getIndices(conversion, op->getOperand(4)) != slots)
    return refuse("the positions and slots must be inputs of the step");
  std::optional<int64_t> layer = readInt(op->getOperand(5)), window = readInt(op->getOperand(7));
  std::optional<double> scale = readNumber(op->getOperand(6)),
                        softcap = readNumber(op->getOperand(8));
  if (!layer || !scale || !window || !softcap)
    return refuse("the layer, scale, window and softcap must be constants");
  if (*window < 0 || *softcap < 0)
    return refuse("the window and softcap must not be negative");
  bool hasSinks = !isNone(op->getOperand(9));
  Meaning sinks = conversion.get(op->getOperand(9));
  if (hasSinks && (sinks.kind != Kind::Vector || sinks.view.axes.size() != 1 ||
                   sinks.view.axes[0].size != query->count))
    return refuse("the sinks must be a parameter with one number for each query head");
  // A product of query and key does not depend on the order of their columns.
  if (query->meaning.view.evenFirst != keys->meaning.view.evenFirst)
    return refuse("the query and the keys must be rotated alike");
  query->meaning.view.evenFirst = keys->meaning.view.evenFirst = false;

  Location location = op->getLoc();
  Value queryRows = conversion.getPlainRows(query->meaning, location);
  Value keyRows = conversion.getPlainRows(keys->meaning, location);
  Value valueRows = conversion.getPlainRows(values->meaning, location);
  if (!queryRows || !keyRows || !valueRows)
    return std::nullopt;
  if (!conversion.claimLayer(*layer))
    return refuse("layer " + Twine(*layer) + " already has a cache");
  Type cacheType =
      CacheType::get(op->getContext(), keys->count, keys->size, conversion.getWeightType());
  Value cache = conversion.create<KvCacheOp>(location, cacheType, conversion.getI64(*layer));
  cache = conversion.create<KvAppendOp>(location, cacheType, cache, keyRows, valueRows, positions,
                                        slots);
  Value sinkOfHead = hasSinks ? conversion.getWeight(sinks, location) : Value();
  Value result = conversion.create<AttentionOp>(
      location, queryRows.getType(), queryRows, cache, last, slots, sinkOfHead,
      conversion.getF64(*scale), conversion.getI64(*window), conversion.getF64(*softcap));
  Axes axes = {Axis::unit(), Axis::row(), Axis::columns(query->count, query->size),
               Axis::columns(query->size, 1)};
  return conversion.makeRows(result, axes, Value());
}

void mk::addAttentionRules(Rules &rules) { rules.add("torch.mk.attention", 10, attend); }
