// The number formats that weights come in: one row each. Everything else iterates this table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace flashmoe {

enum class Format : uint8_t { f32, f16, bf16, q8_0, q4_0, q4_k, q5_k, q6_k };
inline constexpr int kFormatCount = 8;

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

// What people call a GGUF type this build does not run ("IQ2_XXS"), or "type 99".
std::string_view gguf_type_name(uint32_t gguf_type);

// Bytes of n_values (a multiple of block_values).
int64_t format_bytes(Format format, int64_t n_values);

}  // namespace flashmoe
