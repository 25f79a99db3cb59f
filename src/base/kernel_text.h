// Numbers out of the kernel's text files: /proc and /sys.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace flashmoe {

inline constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// A whole file; nothing when it cannot be opened.
std::optional<std::string> read_kernel_text(const std::string& path);

// The number at the start of `text`, after blanks. A number beyond 64 bits, "max" and "unlimited" are kUnlimited;
// anything else is no number.
std::optional<uint64_t> parse_number(std::string_view text);
std::optional<uint64_t> read_number(const std::string& path);

// The number after `key` and a blank or colon, where a line starts with that.
std::optional<uint64_t> find_number(std::string_view text, std::string_view key);
// The same for lines such as "Key:   123 kB", in bytes.
std::optional<uint64_t> find_kib(std::string_view text, std::string_view key);

}  // namespace flashmoe
