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

// Formats whose values lie evenly about zero when all bits but those of the f16 scale are random.
struct RandomBits {
  Format format;
  int before, after;  // bytes before and after the scale
  float deviation;    // standard deviation of the values where the scale is 1
};
constexpr RandomBits kRandomBits[] = {
    {Format::q5_0, 0, 20, 9.24f},      {Format::q3_k, 108, 0, 43.2f},   {Format::iq1_s, 0, 48, 7.19f},
    {Format::iq2_xxs, 0, 64, 53.2f},   {Format::iq2_xs, 0, 72, 56.1f},  {Format::iq2_s, 0, 80, 56.4f},
    {Format::iq3_xxs, 0, 96, 142.6f},  {Format::iq3_s, 0, 108, 140.4f}, {Format::iq4_nl, 0, 16, 67.5f},
    {Format::iq4_xs, 0, 134, 1243.4f},
};
constexpr float kIq1MDeviation = 7.19f, kMxfp4Deviation = 5.85f, kQ2KDeviation = 9.84f;

// Either sign: what the levels' mean misses zero by cancels out.
uint16_t random_scale(float magnitude, Random& random) {
  return half_of(random.below(2) == 0 ? magnitude : -magnitude);
}

// A 4-bit scale and the same 4-bit minimum for each group.
void append_q2_k(std::string& out, float sigma, Random& random) {
  for (int i = 0; i < 16; ++i) append(out, static_cast<uint8_t>(random.below(16) * 17));
  append_random(out, random, 64);
  append(out, half_of(sigma / kQ2KDeviation));
  append(out, half_of(1.5f * sigma / kQ2KDeviation));
}

void append_iq1_m(std::string& out, float sigma, Random& random) {
  append_random(out, random, 48);
  const uint16_t d = random_scale(sigma / kIq1MDeviation, random);
  for (int i = 0; i < 4; ++i) {
    append(out, static_cast<uint16_t>(random.below(1 << 12) | static_cast<uint64_t>(d >> 4 * i & 15) << 12));
  }
}

// The scale is a power of two: the two beside the one that is wanted, in such shares that the variance is right.
void append_mxfp4(std::string& out, float sigma, Random& random) {
  int exponent = 0;
  const float fraction = 2 * std::frexp(sigma / kMxfp4Deviation, &exponent);  // in [1, 2)
  const bool is_upper = random.uniform() < (fraction * fraction - 1) / 3;
  append(out, static_cast<uint8_t>(128 + exponent - 1 + (is_upper ? 1 : 0)));
  append_random(out, random, 16);
}

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
    case Format::q4_1:
    case Format::q5_1: {
      const int n_levels = format == Format::q4_1 ? 16 : 32;
      const float d = sigma / spread(n_levels);
      append(out, half_of(d));
      append(out, half_of(-0.5f * static_cast<float>(n_levels - 1) * d));
      return append_random(out, random, format == Format::q4_1 ? 16 : 20);
    }
    case Format::q2_k:
      return append_q2_k(out, sigma, random);
    case Format::iq1_m:
      return append_iq1_m(out, sigma, random);
    case Format::mxfp4:
      return append_mxfp4(out, sigma, random);
    default:
      break;
  }
  const auto* bits = std::find_if(std::begin(kRandomBits), std::end(kRandomBits),
                                  [format](const RandomBits& one) { return one.format == format; });
  CHECK(bits != std::end(kRandomBits));
  append_random(out, random, bits->before);
  append(out, random_scale(sigma / bits->deviation, random));
  append_random(out, random, bits->after);
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
