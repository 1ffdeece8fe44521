// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MK_RUNTIME_CPU_NUMBERS_H
#define MK_RUNTIME_CPU_NUMBERS_H

#include <cstdint>
#include <cstring>

// The machine's own vector width without building the library for one machine: the loader picks a
// clone.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MK_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MK_CLONES
#endif

namespace mk {

inline float fromBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint32_t toBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float fromBF16(uint16_t value) { return fromBits(uint32_t(value) << 16); }

/// Rounds to nearest even; a NaN stays one.
inline uint16_t toBF16(float value) {
  uint32_t bits = toBits(value);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return uint16_t((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : rounded);
}

/// Exact. The product moves the exponent's bias, subnormals included; infinity and NaN get theirs
/// back.
inline float fromF16(uint16_t value) {
  float scaled = fromBits(uint32_t(value & 0x7fff) << 13) * fromBits((127 + 112) << 23);
  uint32_t bits = toBits(scaled);
  bits |= scaled >= 65536.0f ? 0x7f800000u : 0u;
  return fromBits(bits | uint32_t(value & 0x8000) << 16);
}

} // namespace mk

#endif // MK_RUNTIME_CPU_NUMBERS_H
