// Writes GGUF files byte by byte, malformed ones too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

// Ids of metadata values in the file.
enum class GgufKind : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// The little-endian bytes of a number, and of a string with its 64-bit length.
template <typename T>
std::string gguf_number(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(T));
}
std::string gguf_string(std::string_view text);

class GgufWriter {
 public:
  uint32_t version = 3;
  uint32_t alignment = 32;                  // of tensor data; "general.alignment" is the caller's to add
  std::optional<uint64_t> claimed_tensors;  // counts that lie
  std::optional<uint64_t> claimed_entries;

  void add_u16(std::string_view key, uint16_t value) { add_raw(key, GgufKind::u16, gguf_number(value)); }
  void add_u32(std::string_view key, uint32_t value) { add_raw(key, GgufKind::u32, gguf_number(value)); }
  void add_i32(std::string_view key, int32_t value) { add_raw(key, GgufKind::i32, gguf_number(value)); }
  void add_u64(std::string_view key, uint64_t value) { add_raw(key, GgufKind::u64, gguf_number(value)); }
  void add_f32(std::string_view key, float value) { add_raw(key, GgufKind::f32, gguf_number(value)); }
  void add_bool(std::string_view key, bool value) { add_raw(key, GgufKind::boolean, gguf_number<uint8_t>(value)); }
  void add_string(std::string_view key, std::string_view value) { add_raw(key, GgufKind::string, gguf_string(value)); }
  void add_i32s(std::string_view key, const std::vector<int32_t>& values);
  void add_strings(std::string_view key, const std::vector<std::string>& values);
  // Any type id and any bytes.
  void add_raw(std::string_view key, GgufKind kind, std::string_view value);
  // An array of `n` elements whose bytes are `elements`.
  void add_array(std::string_view key, GgufKind kind, uint64_t n, std::string_view elements);

  // `shape` outermost first. The offset in the data section is the next aligned one unless given.
  void add_tensor(std::string_view name, const std::vector<uint64_t>& shape, uint32_t gguf_type, std::string_view data,
                  std::optional<uint64_t> offset = std::nullopt);

  std::string bytes() const;
  void write(const std::string& path) const;

 private:
  std::string entries_, tensors_, data_;
  uint64_t n_entries_ = 0, n_tensors_ = 0;
};

}  // namespace flashmoe
