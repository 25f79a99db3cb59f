#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "support/random.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

// Round to nearest even. Written here so that the generator does not rest on the code under test.
uint16_t half_of(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65520.0f)) return static_cast<uint16_t>(sign | (std::isnan(value) ? 0x7e00 : 0x7c00));
  if (magnitude < 0x1p-14f) return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::lrint(magnitude * 0x1p24f)));
  const uint32_t magnitude_bits = std::bit_cast<uint32_t>(magnitude) - (112u << 23);
  const uint32_t rounded = magnitude_bits + 0xfff + ((magnitude_bits >> 13) & 1);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

uint16_t bfloat_of(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void append_random(std::string& out, Random& random, int n_bytes) {
  for (int i = 0; i < n_bytes; ++i) out += static_cast<char>(random.below(256));
}

// Eight 6-bit scales and eight 6-bit minima, near each other so that values centre on zero, in Q4_K's 12 bytes.
void append_k_scales(std::string& out, Random& random) {
  std::array<uint8_t, 8> scale, least;
  for (size_t i = 0; i < 8; ++i) {
    scale[i] = static_cast<uint8_t>(random.between(20, 60));
    least[i] = static_cast<uint8_t>(scale[i] + random.between(-3, 3));
  }
  std::array<uint8_t, 12> packed = {};
  for (size_t i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(scale[i] | (scale[i + 4] >> 4 << 6));
    packed[i + 4] = static_cast<uint8_t>(least[i] | (least[i + 4] >> 4 << 6));
    packed[i + 8] = static_cast<uint8_t>((scale[i + 4] & 15) | ((least[i + 4] & 15) << 4));
  }
  out.append(reinterpret_cast<const char*>(packed.data()), packed.size());
}

// The standard deviation of whole numbers drawn evenly from n values in a row.
float spread(int n) { return std::sqrt(static_cast<float>(n * n - 1) / 12.0f); }

constexpr float kMeanScale = 40;

void append_block(std::string& out, Format format, float sigma, Random& random) {
  switch (format) {
    case Format::f32:
      return append(out, sigma * random.normal());
    case Format::f16:
      return append(out, half_of(sigma * random.normal()));
    case Format::bf16:
      return append(out, bfloat_of(sigma * random.normal()));
    case Format::q8_0:
      append(out, half_of(sigma / spread(255)));
      for (int i = 0; i < 32; ++i) append(out, static_cast<int8_t>(random.between(-127, 127)));
      return;
    case Format::q4_0:
      append(out, half_of(sigma / spread(16)));
      return append_random(out, random, 16);
    case Format::q4_k: {
      const float d = sigma / (kMeanScale * spread(16));
      append(out, half_of(d));
      append(out, half_of(7.5f * d));
      append_k_scales(out, random);
      return append_random(out, random, 128);
    }
    case Format::q5_k: {
      const float d = sigma / (kMeanScale * spread(32));
      append(out, half_of(d));
      append(out, half_of(15.5f * d));
      append_k_scales(out, random);
      return append_random(out, random, 32 + 128);
    }
    case Format::q6_k:
      append_random(out, random, 128 + 64);
      for (int i = 0; i < 16; ++i) {
        const int scale = random.between(20, 60);
        append(out, static_cast<int8_t>(random.below(2) == 0 ? scale : -scale));
      }
      return append(out, half_of(sigma / (kMeanScale * spread(64))));
  }
  CHECK(!"a format without random blocks");
}

}  // namespace

std::string random_blocks(Format format, int64_t n_values, float sigma, uint64_t seed) {
  const FormatInfo& info = format_info(format);
  CHECK(n_values % info.block_values == 0);
  Random random(seed);
  std::string out;
  out.reserve(static_cast<size_t>(format_bytes(format, n_values)));
  for (int64_t i = 0; i < n_values; i += info.block_values) append_block(out, format, sigma, random);
  CHECK(static_cast<int64_t>(out.size()) == format_bytes(format, n_values));
  return out;
}

std::string encode_floats(Format format, const std::vector<float>& values) {
  std::string out;
  for (const float value : values) {
    switch (format) {
      case Format::f32:
        append(out, value);
        break;
      case Format::f16:
        append(out, half_of(value));
        break;
      case Format::bf16:
        append(out, bfloat_of(value));
        break;
      default:
        CHECK(!"not a float format");
    }
  }
  return out;
}

}  // namespace flashmoe
