// The number formats that weights come in: one row each. Everything else iterates this table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "quant/scales.h"

namespace flashmoe {

// clang-format off
enum class Format : uint8_t {
  f32, f16, bf16,
  q8_0, q4_0, q4_k, q5_k, q6_k,
  q4_1, q5_0, q5_1, q2_k, q3_k,
  iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl, iq4_xs,
  mxfp4,
  affine2, affine3, affine4, affine5, affine6, affine8, mxfp4_split, fp8_e4m3,
};
// clang-format on
inline constexpr int kFormatCount = 31;

inline constexpr uint32_t kNotInGguf = UINT32_MAX;

struct FormatInfo {
  Format format;
  const char* name;  // as people write it: "Q4_K"
  int block_values;  // values per block; a row is a whole number of blocks
  int block_bytes;
  uint32_t gguf_type;            // ggml type id in GGUF files, or kNotInGguf
  const char* safetensors_name;  // dtype in safetensors headers; nullptr: none says it all
  bool is_float;                 // matmuls keep f32 activations
  int n_scale_matrices;          // kept apart from the blocks: 0 none, 1 scales, 2 scales and biases
  // The format's definition: values [first, first + n) of a row, both multiples of block_values.
  void (*decode)(const PackedRow& row, int64_t first, int64_t n, float* out) noexcept;
  // Whether f16 scales in n blocks are finite, and so is all that they scale. Null: the values must be looked at.
  bool (*scales_finite)(const std::byte* blocks, int64_t n_blocks) noexcept;
};

const FormatInfo& format_info(Format format);
std::optional<Format> format_from_gguf(uint32_t gguf_type);
std::optional<Format> format_from_safetensors(std::string_view dtype);

// What people call a GGUF type this build does not run ("TQ1_0"), or "type 99".
std::string_view gguf_type_name(uint32_t gguf_type);

// Bytes of n_values (a multiple of block_values), without scales kept apart.
int64_t format_bytes(Format format, int64_t n_values);

inline int n_scale_matrices(Format format) { return format_info(format).n_scale_matrices; }

}  // namespace flashmoe
