#include "support/kernel_cases.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/check.h"
#include "quant/f16.h"

namespace flashmoe {
namespace {

struct Shape {
  int64_t rows, cols;
  bool is_model_shape;
};

// How the scales of a format may lie beside weights of a shape: one empty grid where they are in the blocks.
std::vector<ScaleGrid> grids(Format format, const Shape& shape) {
  if (n_scale_matrices(format) == 0) return {{}};
  if (format == Format::mxfp4_split) return {{ScaleType::e8m0, 1, 32, 0}};
  if (format == Format::fp8_e4m3) {
    if (shape.is_model_shape) return {{ScaleType::bf16, 128, 128, 0}};
    return {{ScaleType::f32, 128, 128, 126}, {ScaleType::bf16, 4, 64, 0}};
  }
  if (shape.is_model_shape) return {{ScaleType::bf16, 1, 64, 0}};
  std::vector<ScaleGrid> found;
  for (const int32_t group : {32, 64, 128}) {
    const ScaleType type = group == 32 ? ScaleType::f32 : group == 64 ? ScaleType::bf16 : ScaleType::f16;
    if (shape.cols % group == 0) found.push_back({type, 1, group, 0});
  }
  return found;
}

std::vector<MatmulCase> make_cases() {
  const std::vector<Shape> shapes = {{7, 256, false},   {19, 512, false},   {33, 768, false},   {512, 2048, true},
                                     {2048, 512, true}, {2048, 4096, true}, {8192, 2048, true}, {5, 32, false},
                                     {6, 96, false},    {9, 2080, false},   {3, 1, false},      {4, 37, false}};
  std::vector<MatmulCase> cases;
  for (int f = 0; f < kFormatCount; ++f) {
    const FormatInfo& info = format_info(static_cast<Format>(f));
    for (const Shape& shape : shapes) {
      if (shape.cols % info.block_values != 0) continue;
      for (const ScaleGrid& grid : grids(info.format, shape)) {
        if (shape.is_model_shape) {
          cases.push_back({info.format, shape.rows, shape.cols, 1, 3, 60, 0, true, grid});
          continue;
        }
        for (const int64_t n : {1, 2, 3, 5, 8, 17, 70}) {
          if (n == 70 && shape.rows != 33 && shape.rows != 9) continue;  // enough of the largest
          const int shift = static_cast<int>(n % 4) * (info.is_float ? info.block_bytes : 1);
          cases.push_back({info.format, shape.rows, shape.cols, n, n % 3, shape.rows - n % 2, shift, false, grid});
        }
      }
    }
  }
  return cases;
}

void write_f16(std::byte* to, float value) {
  const uint16_t half = f32_to_f16(value);
  std::memcpy(to, &half, sizeof(half));
}

void fill_floats(std::mt19937& random, Format format, int64_t n, std::byte* to) {
  const std::vector<float> values = random_floats(random, n, 0.05f);
  for (int64_t i = 0; i < n; ++i) {
    const float value = values[static_cast<size_t>(i)];
    uint16_t half = f32_to_f16(value);
    if (format == Format::f32) std::memcpy(to + i * 4, &value, 4);
    if (format == Format::bf16) std::memcpy(&half, reinterpret_cast<const char*>(&value) + 2, 2);
    if (format != Format::f32) std::memcpy(to + i * 2, &half, 2);
  }
}

// Scales kept apart, of either sign, behind `shift` bytes.
std::vector<std::byte> random_scales(std::mt19937& random, const ScaleGrid& grid, int64_t rows, int64_t cols,
                                     int shift) {
  const int64_t bytes_each = scale_bytes(grid.type), n = scale_matrix_bytes(grid, rows, cols) / bytes_each;
  std::uniform_real_distribution<float> magnitude(0.005f, 0.015f);
  std::vector<std::byte> bytes(static_cast<size_t>(n * bytes_each + shift));
  for (int64_t i = 0; i < n; ++i) {
    const float value = i % 5 == 4 ? -magnitude(random) : magnitude(random);
    std::byte* to = bytes.data() + shift + i * bytes_each;
    if (grid.type == ScaleType::f32) std::memcpy(to, &value, 4);
    if (grid.type == ScaleType::f16) write_f16(to, value);
    if (grid.type == ScaleType::bf16) std::memcpy(to, reinterpret_cast<const char*>(&value) + 2, 2);
    if (grid.type == ScaleType::e8m0) *to = static_cast<std::byte>(118 + i % 4);
  }
  return bytes;
}

// Where a block has its f16 scale, and its minimum if it has one.
struct ScaleOffsets {
  Format format;
  int scale, min;
};
constexpr ScaleOffsets kScaleOffsets[] = {
    {Format::q8_0, 0, -1},   {Format::q4_0, 0, -1},   {Format::q4_k, 0, 2},   {Format::q5_k, 0, 2},
    {Format::q6_k, 208, -1}, {Format::q4_1, 0, 2},    {Format::q5_0, 0, -1},  {Format::q5_1, 0, 2},
    {Format::q2_k, 80, 82},  {Format::q3_k, 108, -1}, {Format::iq1_s, 0, -1}, {Format::iq2_xxs, 0, -1},
    {Format::iq2_xs, 0, -1}, {Format::iq2_s, 0, -1},  {Format::iq3_s, 0, -1}, {Format::iq3_xxs, 0, -1},
    {Format::iq4_nl, 0, -1}, {Format::iq4_xs, 0, -1},
};

}  // namespace

void set_block_scales(Format format, float scale, float min, std::byte* block) {
  if (format == Format::mxfp4) {  // only powers of two
    int exponent = 0;
    std::frexp(scale, &exponent);
    *block = static_cast<std::byte>(127 + exponent);
    return;
  }
  if (format == Format::iq1_m) {  // a nibble in each of the last four words
    const uint16_t half = f32_to_f16(scale);
    for (int k = 0; k < 4; ++k) {
      std::byte& upper = block[49 + 2 * k];
      upper = (upper & std::byte{15}) | static_cast<std::byte>((half >> 4 * k & 15) << 4);
    }
    return;
  }
  for (const ScaleOffsets& offsets : kScaleOffsets) {
    if (offsets.format != format) continue;
    write_f16(block + offsets.scale, scale);
    if (offsets.min >= 0) write_f16(block + offsets.min, min);
    return;
  }
  CHECK(!"a format without scales");
}

std::string MatmulCase::name() const {
  const std::string group = grid.group_cols == 0 ? "" : fmt::format(" g{}", grid.group_cols);
  return fmt::format("{}{} {}x{} n{} rows {}..{} +{}", format_info(format).name, group, rows, cols, n, row_begin,
                     row_end, shift);
}

const std::vector<MatmulCase>& matmul_cases() {
  static const std::vector<MatmulCase> cases = make_cases();
  return cases;
}

std::vector<const KernelTable*> available_tables() {
  std::vector<const KernelTable*> tables;
  for (const char* name : {"scalar", "avx2", "avxvnni", "avx512", "neon"}) {
    if (const auto table = kernels_by_name(name)) tables.push_back(*table);
  }
  return tables;
}

std::vector<float> random_floats(std::mt19937& random, int64_t n, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

TestMatrix::TestMatrix(Format format, int64_t rows, int64_t cols, uint32_t seed, int shift, const ScaleGrid& grid) {
  std::mt19937 random(seed);
  const int64_t n_bytes = format_bytes(format, cols) * rows;
  bytes_.resize(static_cast<size_t>(n_bytes + shift));
  std::byte* data = bytes_.data() + shift;
  const FormatInfo& info = format_info(format);
  const bool apart = info.n_scale_matrices > 0;
  if (info.is_float && !apart) {
    fill_floats(random, format, rows * cols, data);
  } else {
    for (int64_t i = 0; i < n_bytes; ++i) {
      data[i] = static_cast<std::byte>(random() >> 24);
      if (format == Format::fp8_e4m3 && (data[i] & std::byte{0x7f}) == std::byte{0x7f}) data[i] = {};  // not a number
    }
    std::uniform_real_distribution<float> magnitude(0.005f, 0.015f);
    for (int64_t i = 0; i < n_bytes / info.block_bytes && !apart; ++i) {
      const float scale = i % 5 == 4 ? -magnitude(random) : magnitude(random), min = magnitude(random);
      set_block_scales(format, scale, min, data + i * info.block_bytes);
    }
  }
  if (apart) scales_ = random_scales(random, grid, rows, cols, shift);
  if (info.n_scale_matrices > 1) biases_ = random_scales(random, grid, rows, cols, shift);
  view_ = {data, rows, cols, format, grid, scales_.data() + (apart ? shift : 0), biases_.data()};
  if (!biases_.empty()) view_.biases += shift;
}

TestActivations::TestActivations(int64_t n, int64_t cols, uint32_t seed) {
  std::mt19937 random(seed);
  f32_ = random_floats(random, n * cols);
  all_ = {n, cols, f32_.data(), nullptr, nullptr, nullptr};
  if (cols % kActivationBlock != 0) return;
  q8_.resize(f32_.size());
  scale_.resize(f32_.size() / kActivationBlock);
  sum_.resize(scale_.size());
  (*kernels_by_name("scalar"))->quantise_activations(f32_.data(), n, cols, q8_.data(), scale_.data(), sum_.data());
  all_.q8 = q8_.data();
  all_.scale = scale_.data();
  all_.sum = sum_.data();
}

Activations TestActivations::row(int64_t i) const {
  const int64_t blocks = all_.cols / kActivationBlock;
  Activations one = {1, all_.cols, all_.f32 + i * all_.cols, nullptr, nullptr, nullptr};
  if (all_.q8 != nullptr) {
    one.q8 = all_.q8 + i * all_.cols;
    one.scale = all_.scale + i * blocks;
    one.sum = all_.sum + i * blocks;
  }
  return one;
}

}  // namespace flashmoe
