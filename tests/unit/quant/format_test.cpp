#include "quant/format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "quant/f16.h"
#include "support/random.h"

namespace flashmoe {
namespace {

// What tools/make_quant_fixtures.py and, for scales kept apart, tools/make_mlx_fixtures.py wrote.
std::vector<std::byte> read_fixture(const std::string& name) {
  std::ifstream file(std::string(FLASHMOE_TEST_DATA) + "/quant/" + name + ".bin", std::ios::binary);
  std::vector<char> chars((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto* bytes = reinterpret_cast<const std::byte*>(chars.data());
  return {bytes, bytes + chars.size()};
}

class EveryFormat : public testing::TestWithParam<int> {
 protected:
  const FormatInfo& info() const { return format_info(static_cast<Format>(GetParam())); }
};

// Records of formats with scales kept apart: scale type, group, n_values; quants, scales, biases, values.
void expect_reference_rows(const FormatInfo& info, const std::vector<std::byte>& fixture) {
  int n_records = 0;
  for (size_t at = 0; at < fixture.size(); ++n_records) {
    uint32_t header[3] = {};
    ASSERT_LE(at + sizeof(header), fixture.size());
    std::memcpy(header, fixture.data() + at, sizeof(header));
    const ScaleGrid grid = {static_cast<ScaleType>(header[0]), 1, static_cast<int32_t>(header[1]), 0};
    const size_t n_values = header[2], n_bytes = static_cast<size_t>(format_bytes(info.format, header[2]));
    const auto n_scale_bytes = static_cast<size_t>(scale_row_bytes(grid, header[2]));
    const size_t n_parts = n_bytes + n_scale_bytes * static_cast<size_t>(info.n_scale_matrices);
    at += sizeof(header);
    ASSERT_LE(at + n_parts + 4 * n_values, fixture.size());
    std::vector<float> want(n_values);
    std::memcpy(want.data(), fixture.data() + at + n_parts, 4 * n_values);
    for (size_t shift = 0; shift < 4; ++shift) {  // parts lie at any address
      std::vector<std::byte> parts(n_parts + shift);
      std::memcpy(parts.data() + shift, fixture.data() + at, n_parts);
      const std::byte* scales = parts.data() + shift + n_bytes;
      const PackedRow row = {parts.data() + shift, scales, info.n_scale_matrices > 1 ? scales + n_scale_bytes : nullptr,
                             grid.group_cols, grid.type};
      std::vector<float> got(n_values);
      const size_t half = shift == 3 ? 32 : 0;  // a row in two pieces is the same row
      info.decode(row, 0, static_cast<int64_t>(half), got.data());
      info.decode(row, static_cast<int64_t>(half), static_cast<int64_t>(n_values - half), got.data() + half);
      for (size_t i = 0; i < n_values; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
            << info.name << " group " << grid.group_cols << " scale type " << header[0] << " value " << i << ": "
            << got[i] << " instead of " << want[i];
      }
    }
    at += n_parts + 4 * n_values;
  }
  EXPECT_EQ(n_records, info.format == Format::mxfp4_split ? 1 : info.format == Format::fp8_e4m3 ? 4 : 9);
}

TEST_P(EveryFormat, DecodesToTheReferenceBits) {
  const std::vector<std::byte> fixture = read_fixture(info().name);
  ASSERT_GE(fixture.size(), 8u);
  if (info().n_scale_matrices > 0) return expect_reference_rows(info(), fixture);
  uint32_t n_bytes = 0, n_values = 0;
  std::memcpy(&n_bytes, fixture.data(), 4);
  std::memcpy(&n_values, fixture.data() + 4, 4);
  ASSERT_EQ(fixture.size(), 8 + n_bytes + 4 * size_t{n_values});
  ASSERT_EQ(format_bytes(info().format, n_values), n_bytes);
  std::vector<float> want(n_values);
  std::memcpy(want.data(), fixture.data() + 8 + n_bytes, 4 * size_t{n_values});

  for (size_t shift = 0; shift < 4; ++shift) {  // blocks lie at any address
    std::vector<std::byte> blocks(n_bytes + shift);
    std::memcpy(blocks.data() + shift, fixture.data() + 8, n_bytes);
    std::vector<float> got(n_values);
    info().decode({blocks.data() + shift}, 0, n_values, got.data());
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
          << info().name << " value " << i << ": " << got[i] << " instead of " << want[i];
    }
  }
}

TEST_P(EveryFormat, ScalesAreFiniteWhenAllValuesAre) {
  if (info().scales_finite == nullptr) return;
  Random random(11, info().name);
  std::vector<std::byte> block(static_cast<size_t>(info().block_bytes));
  std::vector<float> values(static_cast<size_t>(info().block_values));
  int n_finite = 0, n_not = 0;
  for (int i = 0; i < 2000; ++i) {
    for (std::byte& byte : block) {  // every other f16 with the exponent of infinities
      byte = static_cast<std::byte>(i % 2 == 0 ? 0x7c | random.below(256) : random.below(256));
    }
    info().decode({block.data()}, 0, info().block_values, values.data());
    const bool finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    EXPECT_EQ(info().scales_finite(block.data(), 1), finite) << info().name;
    (finite ? n_finite : n_not) += 1;
  }
  EXPECT_GT(n_finite, 100);
  EXPECT_GT(n_not, 100);
}

TEST_P(EveryFormat, IsFoundByItsNames) {
  if (info().n_scale_matrices > 0) {  // which tensors they are is for the checkpoint to say
    EXPECT_EQ(info().gguf_type, kNotInGguf);
    EXPECT_EQ(info().safetensors_name, nullptr);
    EXPECT_EQ(format_from_gguf(kNotInGguf), std::nullopt);
    return;
  }
  EXPECT_EQ(format_from_gguf(info().gguf_type), info().format);
  EXPECT_EQ(gguf_type_name(info().gguf_type), info().name);
  if (info().safetensors_name != nullptr) {
    EXPECT_EQ(format_from_safetensors(info().safetensors_name), info().format);
  } else {
    EXPECT_FALSE(info().is_float);
    EXPECT_EQ(format_from_safetensors(info().name), std::nullopt);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat, testing::Range(0, kFormatCount),
                         [](const auto& param) { return format_info(static_cast<Format>(param.param)).name; });

TEST(Format, NamesTypesItDoesNotRun) {
  EXPECT_EQ(gguf_type_name(9), "Q8_1");
  EXPECT_EQ(gguf_type_name(24), "I8");
  EXPECT_EQ(gguf_type_name(35), "TQ2_0");
  EXPECT_EQ(gguf_type_name(40), "NVFP4");
  const std::string_view first = gguf_type_name(99);
  EXPECT_EQ(gguf_type_name(4000000000u), "type 4000000000");
  EXPECT_EQ(first, "type 99");
  EXPECT_EQ(format_from_gguf(35), std::nullopt);
  EXPECT_EQ(format_from_safetensors("I64"), std::nullopt);
}

TEST(Format, RowsAreWholeBlocks) {
  EXPECT_EQ(format_bytes(Format::q4_k, 2048), 1152);
  EXPECT_EQ(format_bytes(Format::q6_k, 0), 0);
  EXPECT_DEATH(format_bytes(Format::q4_k, 128), "n_values");
}

TEST(F16, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = f16_to_f32(static_cast<uint16_t>(half));
    if ((half & 0x7fff) > 0x7c00) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_GT(f32_to_f16(value) & 0x7fff, 0x7c00);
    } else {
      ASSERT_EQ(f32_to_f16(value), half);
    }
  }
}

TEST(F16, RoundsToNearestEven) {
  for (uint32_t half = 0; half < 0x7bff; ++half) {  // between each finite half and the next
    const float low = f16_to_f32(static_cast<uint16_t>(half)), high = f16_to_f32(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;
    ASSERT_EQ(f32_to_f16(middle), half + (half & 1)) << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, low)), half) << half;
    ASSERT_EQ(f32_to_f16(-std::nextafter(middle, high)), 0x8000 | (half + 1)) << half;
  }
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
}

}  // namespace
}  // namespace flashmoe
