// Sizes and counts, as people write and read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flashmoe {

// "8G", "512M", "1.5GiB", "8GB", "1073741824". K, M, G, T with or without "iB" are powers of 1024, with "B" of 1000.
std::optional<uint64_t> parse_bytes(std::string_view text);

std::string show_count(uint64_t count);  // "1,234,567"
// Of n things that take `bytes` in all and `largest` at most: "127 KB each", or the mean as well where they differ.
std::string show_each(uint64_t bytes, uint64_t n, uint64_t largest);

}  // namespace flashmoe
