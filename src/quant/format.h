// The number formats that weights come in: one row each. Everything else iterates this table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace flashmoe {

// clang-format off
enum class Format : uint8_t {
  f32, f16, bf16,
  q8_0, q4_0, q4_k, q5_k, q6_k,
  q4_1, q5_0, q5_1, q2_k, q3_k,
  iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl, iq4_xs,
  mxfp4,
};
// clang-format on
inline constexpr int kFormatCount = 23;

struct FormatInfo {
  Format format;
  const char* name;  // as people write it: "Q4_K"
  int block_values;  // values per block; a row is a whole number of blocks
  int block_bytes;
  uint32_t gguf_type;            // ggml type id in GGUF files
  const char* safetensors_name;  // dtype in safetensors headers; nullptr: does not occur there
  bool is_float;                 // F32, F16, BF16: matmuls keep f32 activations
  // The format's definition: n_values (a multiple of block_values) out of `blocks`, which may be unaligned.
  void (*decode)(const std::byte* blocks, int64_t n_values, float* out) noexcept;
};

const FormatInfo& format_info(Format format);
std::optional<Format> format_from_gguf(uint32_t gguf_type);
std::optional<Format> format_from_safetensors(std::string_view dtype);

// What people call a GGUF type this build does not run ("TQ1_0"), or "type 99".
std::string_view gguf_type_name(uint32_t gguf_type);

// Bytes of n_values (a multiple of block_values).
int64_t format_bytes(Format format, int64_t n_values);

}  // namespace flashmoe
