#include "kernels/kv_tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

namespace flashmoe {
namespace {

void put_f32(int64_t d_head, int64_t at, const float* key, const float* value, std::byte* key_tile,
             std::byte* value_tile) {
  auto* keys = reinterpret_cast<float*>(key_tile) + at;
  for (int64_t j = 0; j < d_head; ++j) keys[j * kKvTile] = key[j];
  std::memcpy(reinterpret_cast<float*>(value_tile) + at * d_head, value, static_cast<size_t>(d_head) * sizeof(float));
}

void put_f16(const KernelTable& kernels, int64_t d_head, int64_t at, const float* key, const float* value,
             std::byte* key_tile, std::byte* value_tile) {
  constexpr int64_t kDims = 64;
  auto* keys = reinterpret_cast<uint16_t*>(key_tile) + at;
  for (int64_t first = 0; first < d_head; first += kDims) {
    uint16_t halves[kDims];
    const int64_t n = std::min(kDims, d_head - first);
    kernels.f32_to_f16(key + first, n, halves);
    for (int64_t j = 0; j < n; ++j) keys[(first + j) * kKvTile] = halves[j];
  }
  kernels.f32_to_f16(value, d_head, reinterpret_cast<uint16_t*>(value_tile) + at * d_head);
}

void put_q8(const KernelTable& kernels, int64_t d_head, int64_t at, const float* key, const float* value,
            std::byte* key_tile, std::byte* value_tile) {
  auto* keys = reinterpret_cast<uint8_t*>(key_tile) + at * 4;
  auto* key_scales = reinterpret_cast<float*>(key_tile + kKvTile * d_head) + at;
  for (int64_t first = 0; first < d_head; first += kKvScaleDims) {
    static_assert(kKvScaleDims == kActivationBlock);
    int8_t q8[kKvScaleDims];
    float sum = 0;
    kernels.quantise_activations(key + first, 1, kKvScaleDims, q8, key_scales + first / kKvScaleDims * kKvTile, &sum);
    uint8_t* to = keys + first * kKvTile;
    for (int64_t j = 0; j < kKvScaleDims; ++j) to[j / 4 * 4 * kKvTile + j % 4] = static_cast<uint8_t>(q8[j] + 128);
  }
  float largest = 0;
  for (int64_t j = 0; j < d_head; ++j) largest = std::max(largest, std::fabs(value[j]));
  const float inverse = largest < 1e-30F ? 0.0F : 127.0F / largest;
  auto* values = reinterpret_cast<int8_t*>(value_tile) + at / 2 * 2 * d_head + at % 2;
  constexpr float kToWhole = 12582912.0F;  // 1.5 * 2^23: adding it rounds to nearest even
  for (int64_t j = 0; j < d_head; ++j) {
    values[2 * j] = static_cast<int8_t>(static_cast<int32_t>((value[j] * inverse + kToWhole) - kToWhole));
  }
  reinterpret_cast<float*>(value_tile + kKvTile * d_head)[at] = largest < 1e-30F ? 0.0F : largest / 127.0F;
}

}  // namespace

void put_in_tile(const KernelTable& kernels, KvFormat format, int64_t d_head, int64_t at, const float* key,
                 const float* value, std::byte* key_tile, std::byte* value_tile) noexcept {
  if (format == KvFormat::q8) {
    put_q8(kernels, d_head, at, key, value, key_tile, value_tile);
  } else if (format == KvFormat::f16) {
    put_f16(kernels, d_head, at, key, value, key_tile, value_tile);
  } else {
    put_f32(d_head, at, key, value, key_tile, value_tile);
  }
}

}  // namespace flashmoe
