#include "quant/format.h"

#include <array>
#include <cmath>
#include <mutex>
#include <set>
#include <string>

#include "base/check.h"
#include "quant/affine.h"
#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/fp8_e4m3.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/mxfp4_split.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace flashmoe {
namespace {

// A format whose blocks are complete in themselves.
template <int kValues, size_t kBytes, void (*kDecode)(const std::byte*, int64_t, float*) noexcept>
void decode_blocks(const PackedRow& row, int64_t first, int64_t n, float* out) noexcept {
  kDecode(row.data + first / kValues * static_cast<int64_t>(kBytes), n, out);
}

template <typename Block>
bool scales_finite(const std::byte* bytes, int64_t n_blocks) noexcept {
  const auto* block = reinterpret_cast<const Block*>(bytes);
  bool finite = true;
  for (const Block* end = block + n_blocks; block < end; ++block) {
    finite &= std::isfinite(load_f16(block->d));
    if constexpr (requires { block->dmin; }) finite &= std::isfinite(load_f16(block->dmin));
    if constexpr (requires { block->m; }) finite &= std::isfinite(load_f16(block->m));
  }
  return finite;
}

template <typename Block, void (*kDecode)(const std::byte*, int64_t, float*) noexcept>
constexpr FormatInfo blocks(Format format, const char* name, uint32_t gguf_type) {
  FormatInfo info = {format,        name,      Block::kValues,
                     sizeof(Block), gguf_type, nullptr,
                     false,         0,         decode_blocks<Block::kValues, sizeof(Block), kDecode>,
                     nullptr};
  if constexpr (requires(Block block) { block.d; }) info.scales_finite = scales_finite<Block>;
  return info;
}

template <int kBits>
constexpr FormatInfo affine(Format format, const char* name) {
  using Block = BlockAffine<kBits>;
  return {format, name, Block::kValues, sizeof(Block), kNotInGguf, nullptr, false, 2, decode_affine<kBits>, nullptr};
}

// In the order of Format.
constexpr std::array<FormatInfo, kFormatCount> kFormats = {{
    {Format::f32, "F32", 1, 4, 0, "F32", true, 0, decode_blocks<1, 4, decode_f32>, nullptr},
    {Format::f16, "F16", 1, 2, 1, "F16", true, 0, decode_blocks<1, 2, decode_f16>, nullptr},
    {Format::bf16, "BF16", 1, 2, 30, "BF16", true, 0, decode_blocks<1, 2, decode_bf16>, nullptr},
    blocks<BlockQ8_0, decode_q8_0>(Format::q8_0, "Q8_0", 8),
    blocks<BlockQ4_0, decode_q4_0>(Format::q4_0, "Q4_0", 2),
    blocks<BlockQ4_K, decode_q4_k>(Format::q4_k, "Q4_K", 12),
    blocks<BlockQ5_K, decode_q5_k>(Format::q5_k, "Q5_K", 13),
    blocks<BlockQ6_K, decode_q6_k>(Format::q6_k, "Q6_K", 14),
    blocks<BlockQ4_1, decode_q4_1>(Format::q4_1, "Q4_1", 3),
    blocks<BlockQ5_0, decode_q5_0>(Format::q5_0, "Q5_0", 6),
    blocks<BlockQ5_1, decode_q5_1>(Format::q5_1, "Q5_1", 7),
    blocks<BlockQ2_K, decode_q2_k>(Format::q2_k, "Q2_K", 10),
    blocks<BlockQ3_K, decode_q3_k>(Format::q3_k, "Q3_K", 11),
    blocks<BlockIQ1_S, decode_iq1_s>(Format::iq1_s, "IQ1_S", 19),
    blocks<BlockIQ1_M, decode_iq1_m>(Format::iq1_m, "IQ1_M", 29),
    blocks<BlockIQ2_XXS, decode_iq2_xxs>(Format::iq2_xxs, "IQ2_XXS", 16),
    blocks<BlockIQ2_XS, decode_iq2_xs>(Format::iq2_xs, "IQ2_XS", 17),
    blocks<BlockIQ2_S, decode_iq2_s>(Format::iq2_s, "IQ2_S", 22),
    blocks<BlockIQ3_XXS, decode_iq3_xxs>(Format::iq3_xxs, "IQ3_XXS", 18),
    blocks<BlockIQ3_S, decode_iq3_s>(Format::iq3_s, "IQ3_S", 21),
    blocks<BlockIQ4_NL, decode_iq4_nl>(Format::iq4_nl, "IQ4_NL", 20),
    blocks<BlockIQ4_XS, decode_iq4_xs>(Format::iq4_xs, "IQ4_XS", 23),
    blocks<BlockMXFP4, decode_mxfp4>(Format::mxfp4, "MXFP4", 39),
    affine<2>(Format::affine2, "affine2"),
    affine<3>(Format::affine3, "affine3"),
    affine<4>(Format::affine4, "affine4"),
    affine<5>(Format::affine5, "affine5"),
    affine<6>(Format::affine6, "affine6"),
    affine<8>(Format::affine8, "affine8"),
    {Format::mxfp4_split, "mxfp4_split", BlockMXFP4Split::kValues, sizeof(BlockMXFP4Split), kNotInGguf, nullptr, false,
     1, decode_mxfp4_split, nullptr},
    {Format::fp8_e4m3, "fp8_e4m3", 1, 1, kNotInGguf, nullptr, true, 1, decode_fp8_e4m3, nullptr},
}};

// Every id the GGUF format has given out.
constexpr std::array<std::string_view, 42> kGgufTypes = {
    "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4",    "Q1_0",
};

}  // namespace

const FormatInfo& format_info(Format format) {
  const auto index = static_cast<size_t>(format);
  CHECK(index < kFormats.size() && kFormats[index].format == format);
  return kFormats[index];
}

std::optional<Format> format_from_gguf(uint32_t gguf_type) {
  for (const FormatInfo& info : kFormats) {
    if (gguf_type != kNotInGguf && info.gguf_type == gguf_type) return info.format;
  }
  return std::nullopt;
}

std::optional<Format> format_from_safetensors(std::string_view dtype) {
  for (const FormatInfo& info : kFormats) {
    if (info.safetensors_name != nullptr && dtype == info.safetensors_name) return info.format;
  }
  return std::nullopt;
}

std::string_view gguf_type_name(uint32_t gguf_type) {
  if (gguf_type < kGgufTypes.size()) return kGgufTypes[gguf_type];
  // The view must outlive the call, so names of unknown ids are kept; a set's elements never move.
  static std::mutex mutex;
  static std::set<std::string> unknown;
  const std::lock_guard lock(mutex);
  return *unknown.insert("type " + std::to_string(gguf_type)).first;
}

int64_t format_bytes(Format format, int64_t n_values) {
  const FormatInfo& info = format_info(format);
  CHECK(n_values >= 0 && n_values % info.block_values == 0);
  return n_values / info.block_values * info.block_bytes;
}

}  // namespace flashmoe
