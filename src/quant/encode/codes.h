// The numbers that a format's codes stand for, and the one nearest to a value.
#pragma once

#include "quant/encode/lanes.h"

namespace flashmoe {
namespace {

// Whole numbers kLow .. kHigh; code 0 is kLow.
template <int kLow, int kHigh>
struct WholeCodes {
  static constexpr float kLowest = kLow, kHighest = kHigh;
};

// kCount levels in rising order; code 0 is the first.
template <const int8_t* kLevels, int kCount>
struct LevelCodes {
  static constexpr float kLowest = kLevels[0], kHighest = kLevels[kCount - 1];
};

}  // namespace

template <int kLow, int kHigh>
static inline Lanes nearest(WholeCodes<kLow, kHigh>, Lanes v) noexcept {
  return rounded(clamped(v, kLow, kHigh));
}
template <int kLow, int kHigh>
static inline Lanes nearest_code(WholeCodes<kLow, kHigh> codes, Lanes v) noexcept {
  return nearest(codes, v) - static_cast<float>(kLow);
}

template <const int8_t* kLevels, int kCount>
static inline Lanes nearest(LevelCodes<kLevels, kCount>, Lanes v) noexcept {
  Lanes level = Lanes{} + static_cast<float>(kLevels[0]);
#pragma GCC unroll 16
  for (int i = 1; i < kCount; ++i) {
    const float middle = static_cast<float>(kLevels[i - 1] + kLevels[i]) / 2;
    level += v > middle ? Lanes{} + static_cast<float>(kLevels[i] - kLevels[i - 1]) : Lanes{};
  }
  return level;
}
template <const int8_t* kLevels, int kCount>
static inline Lanes nearest_code(LevelCodes<kLevels, kCount>, Lanes v) noexcept {
  Lanes code = {};
#pragma GCC unroll 16
  for (int i = 1; i < kCount; ++i) {
    const float middle = static_cast<float>(kLevels[i - 1] + kLevels[i]) / 2;
    code += v > middle ? Lanes{} + 1.0f : Lanes{};
  }
  return code;
}

// Codes of (x - offset) * inverse; n is a multiple of 8.
template <typename Codes>
static inline void take_codes(Codes codes, const float* x, int n, float offset, float inverse, uint8_t* out) noexcept {
  for (int i = 0; i < n; i += kLanes) {
    const Lanes code = nearest_code(codes, (load_lanes(x + i) - offset) * inverse);
    const IntLanes whole = __builtin_convertvector(code, IntLanes);
    for (int j = 0; j < kLanes; ++j) out[i + j] = static_cast<uint8_t>(whole[j]);
  }
}

static inline float inverse_of(float scale) noexcept { return scale == 0 ? 0 : 1 / scale; }

}  // namespace flashmoe
