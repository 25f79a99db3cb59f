// XXH3, 64 bits: tells damaged bytes from whole ones, not friend from foe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace flashmoe {

uint64_t checksum_of(std::span<const std::byte> bytes) noexcept;

// The same over bytes that come in pieces.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void add(std::span<const std::byte> bytes) noexcept;
  uint64_t value() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// 16 hexadecimal digits, the most significant first.
std::string show_checksum(uint64_t checksum);
std::optional<uint64_t> parse_checksum(std::string_view text);

}  // namespace flashmoe
