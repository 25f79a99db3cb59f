#include "support/kernel_cases.h"

#include <fmt/format.h>

#include <cstring>

#include "quant/f16.h"
#include "quant/q4_0.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace flashmoe::testing_support {
namespace {

struct Shape {
  int64_t rows, cols;
  bool is_model_shape;
};

std::vector<MatmulCase> make_cases() {
  const std::vector<Shape> shapes = {{7, 256, false},   {19, 512, false},   {33, 768, false},   {512, 2048, true},
                                     {2048, 512, true}, {2048, 4096, true}, {8192, 2048, true}, {5, 32, false},
                                     {6, 96, false},    {9, 2080, false},   {3, 1, false},      {4, 37, false}};
  std::vector<MatmulCase> cases;
  for (int f = 0; f < kFormatCount; ++f) {
    const FormatInfo& info = format_info(static_cast<Format>(f));
    for (const Shape& shape : shapes) {
      if (shape.cols % info.block_values != 0) continue;
      if (shape.is_model_shape) {
        cases.push_back({info.format, shape.rows, shape.cols, 1, 3, 60, 0, true});
        continue;
      }
      for (const int64_t n : {1, 2, 3, 5, 8, 17}) {
        const int shift = static_cast<int>(n % 4) * (info.is_float ? info.block_bytes : 1);
        cases.push_back({info.format, shape.rows, shape.cols, n, n % 3, shape.rows - n % 2, shift, false});
      }
    }
  }
  return cases;
}

template <typename Block>
Block* block_at(std::byte* bytes, int64_t i) {
  return reinterpret_cast<Block*>(bytes) + i;
}

void write_f16(uint8_t* to, float value) {
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

void set_scales(std::mt19937& random, Format format, int64_t n_blocks, std::byte* to) {
  std::uniform_real_distribution<float> magnitude(0.005f, 0.015f);
  for (int64_t i = 0; i < n_blocks; ++i) {
    const float scale = i % 5 == 4 ? -magnitude(random) : magnitude(random), min = magnitude(random);
    switch (format) {
      case Format::q8_0:
        write_f16(block_at<BlockQ8_0>(to, i)->d, scale);
        break;
      case Format::q4_0:
        write_f16(block_at<BlockQ4_0>(to, i)->d, scale);
        break;
      case Format::q4_k:
        write_f16(block_at<BlockQ4_K>(to, i)->d, scale);
        write_f16(block_at<BlockQ4_K>(to, i)->dmin, min);
        break;
      case Format::q5_k:
        write_f16(block_at<BlockQ5_K>(to, i)->d, scale);
        write_f16(block_at<BlockQ5_K>(to, i)->dmin, min);
        break;
      case Format::q6_k:
        write_f16(block_at<BlockQ6_K>(to, i)->d, scale);
        break;
      case Format::f32:
      case Format::f16:
      case Format::bf16:
        break;
    }
  }
}

}  // namespace

std::string MatmulCase::name() const {
  return fmt::format("{} {}x{} n{} rows {}..{} +{}", format_info(format).name, rows, cols, n, row_begin, row_end,
                     shift);
}

const std::vector<MatmulCase>& matmul_cases() {
  static const std::vector<MatmulCase> cases = make_cases();
  return cases;
}

std::vector<const KernelTable*> available_tables() {
  std::vector<const KernelTable*> tables;
  for (const char* name : {"scalar", "avx2", "avx512"}) {
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

TestMatrix::TestMatrix(Format format, int64_t rows, int64_t cols, uint32_t seed, int shift) {
  std::mt19937 random(seed);
  const int64_t n_bytes = format_bytes(format, cols) * rows;
  bytes_.resize(static_cast<size_t>(n_bytes + shift));
  std::byte* data = bytes_.data() + shift;
  const FormatInfo& info = format_info(format);
  if (info.is_float) {
    fill_floats(random, format, rows * cols, data);
  } else {
    for (int64_t i = 0; i < n_bytes; ++i) data[i] = static_cast<std::byte>(random() >> 24);
    set_scales(random, format, n_bytes / info.block_bytes, data);
  }
  view_ = {data, rows, cols, format};
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

}  // namespace flashmoe::testing_support
