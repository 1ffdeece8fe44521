// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Brings weights into the order in which the workers read them. One tile is a transposition: rows
// of the matrix become lanes, so that one vector load brings the next words of `lanes` rows.

#include "runtime/cpu/Numbers.h"
#include "runtime/cpu/Runtime.h"

#include <algorithm>

using namespace mk;

static constexpr int64_t kBlock = 64; // elements of a row that are converted at once

/// Elements [begin, begin + count) of a row, in float32.
static inline void load(const void *data, int64_t type, int64_t begin, int64_t count, float *to) {
  if (type == elementF32) {
    memcpy(to, static_cast<const float *>(data) + begin, count * sizeof(float));
    return;
  }
  const uint16_t *from = static_cast<const uint16_t *>(data) + begin;
  if (type == elementBF16)
    for (int64_t i = 0; i < count; ++i)
      to[i] = fromBF16(from[i]);
  else
    for (int64_t i = 0; i < count; ++i)
      to[i] = fromF16(from[i]);
}

static inline void store(const float *from, int64_t count, int32_t type, void *to) {
  if (type == elementF32) {
    memcpy(to, from, count * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    static_cast<uint16_t *>(to)[i] = toBF16(from[i]);
}

namespace {
struct Packing {
  const MkSource *sources;
  int32_t sourceCount;
  int64_t columns;
  int32_t storage;
  int64_t lanes;
  const MkSegment *segments;
  const int64_t *tileOffsets;
  char *stream;

  int64_t elementBytes() const { return storage == elementF32 ? 4 : 2; }
};
} // namespace

/// One group of a tile: rows [first, first + valid) become lanes [0, valid). `out` is the group's
/// first word.
MK_CLONES static void packGroup(const Packing &pack, int64_t first, int64_t valid, uint32_t *out) {
  int64_t perWord = 4 / pack.elementBytes(), words = (pack.columns + perWord - 1) / perWord;
  int64_t blockWords = kBlock / perWord, stride = 2 * pack.lanes;
  uint32_t block[16][kBlock];
  float row[kBlock];
  for (int64_t word = 0; word < words; word += blockWords) {
    int64_t begin = word * perWord, count = std::min(kBlock, pack.columns - begin);
    int64_t source = 0, inSource = first;
    for (int64_t lane = 0; lane < pack.lanes; ++lane, ++inSource) {
      if (lane >= valid) {
        memset(block[lane], 0, sizeof block[lane]);
        continue;
      }
      while (inSource >= pack.sources[source].rows)
        inSource -= pack.sources[source++].rows;
      std::fill(row + count, row + kBlock, 0.0f);
      int64_t type = pack.sources[source].type, bytes = type == elementF32 ? 4 : 2;
      load(static_cast<const char *>(pack.sources[source].data) + inSource * pack.columns * bytes,
           type, begin, count, row);
      store(row, kBlock, pack.storage, block[lane]);
    }
    int64_t rest = std::min(blockWords, words - word);
    uint32_t *to = out + word * stride;
    if (pack.lanes == 16) // a constant count becomes vector code
      for (int64_t w = 0; w < rest; ++w)
        for (int64_t lane = 0; lane < 16; ++lane)
          to[w * stride + lane] = block[lane][w];
    else
      for (int64_t w = 0; w < rest; ++w)
        for (int64_t lane = 0; lane < pack.lanes; ++lane)
          to[w * stride + lane] = block[lane][w];
  }
}

static int64_t unitsPerOuter(const MkSegment &segment, int64_t lanes) {
  return (segment.half + lanes - 1) / lanes;
}

static void packTile(void *data, int64_t tile) {
  const Packing &pack = *static_cast<const Packing *>(data);
  const MkSegment *segment = pack.segments;
  int64_t unit = tile, lanes = pack.lanes;
  for (; unit >= segment->outer * unitsPerOuter(*segment, lanes); ++segment)
    unit -= segment->outer * unitsPerOuter(*segment, lanes);
  int64_t n = unitsPerOuter(*segment, lanes), inner = unit % n * lanes;
  int64_t a = segment->base + unit / n * segment->stride + inner,
          valid = std::min(lanes, segment->half - inner);
  auto *out = reinterpret_cast<uint32_t *>(pack.stream + 64 * pack.tileOffsets[tile]);
  for (int64_t group = 0; group < 2; ++group) {
    int64_t first = a + group * segment->partner;
    packGroup(pack, first, std::clamp<int64_t>(segment->limit - first, 0, valid),
              out + group * lanes);
  }
}

int32_t mk_pack_tiles(const MkSource *sources, int32_t sourceCount, int64_t columns,
                      int32_t storage, int32_t lanes, const MkSegment *segments,
                      int32_t segmentCount, const int64_t *tileOffsets, int64_t tileCount,
                      void *stream, int32_t threads) {
  int64_t rows = 0, units = 0;
  for (int32_t s = 0; s < sourceCount; ++s)
    rows += sources[s].rows;
  for (int32_t s = 0; s < segmentCount; ++s) {
    if (segments[s].base < 0 || segments[s].partner < 0 || segments[s].stride < 0 ||
        segments[s].half <= 0 || segments[s].limit > rows)
      return -1;
    units += segments[s].outer * unitsPerOuter(segments[s], lanes);
  }
  if (units != tileCount || lanes < 1 || lanes > 16)
    return -1;
  Packing pack{sources, sourceCount, columns,     storage,
               lanes,   segments,    tileOffsets, static_cast<char *>(stream)};
  parallelFor(threads, tileCount, packTile, &pack);
  return 0;
}

namespace {
struct Conversion {
  const void *from;
  int32_t fromType;
  void *to;
  int32_t toType;
  int64_t elements;
};
constexpr int64_t kConvertPart = int64_t(1) << 20;
} // namespace

MK_CLONES static void convertPart(void *data, int64_t part) {
  const auto &convert = *static_cast<const Conversion *>(data);
  int64_t end = std::min(convert.elements, (part + 1) * kConvertPart);
  int64_t bytes = convert.toType == elementF32 ? 4 : 2;
  float values[kBlock];
  for (int64_t i = part * kConvertPart; i < end; i += kBlock) {
    int64_t count = std::min(kBlock, end - i);
    load(convert.from, convert.fromType, i, count, values);
    store(values, count, convert.toType, static_cast<char *>(convert.to) + i * bytes);
  }
}

void mk_convert(const void *from, int32_t fromType, void *to, int32_t toType, int64_t elements,
                int32_t threads) {
  Conversion convert{from, fromType, to, toType, elements};
  parallelFor(threads, (elements + kConvertPart - 1) / kConvertPart, convertPart, &convert);
}
