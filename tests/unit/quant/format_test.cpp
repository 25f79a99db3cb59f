#include "quant/format.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "quant/f16.h"

namespace flashmoe {
namespace {

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

TEST_P(EveryFormat, DecodesToTheReferenceBits) {
  const std::vector<std::byte> fixture = read_fixture(info().name);
  ASSERT_GE(fixture.size(), 8u);
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
    info().decode(blocks.data() + shift, n_values, got.data());
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
          << info().name << " value " << i << ": " << got[i] << " instead of " << want[i];
    }
  }
}

TEST_P(EveryFormat, IsFoundByItsNames) {
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
