// What comes in as text: files, standard input, lists of token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

// More than any context holds; a device that never ends is not read until memory is gone.
struct ReadLimit {
  size_t bytes = size_t{64} << 20;
  const char* what = "any model";  // a longer text is too long for
};

// All of a file; "-" is standard input. Throws Error{io} with path and reason.
std::string read_text(const std::string& path);

// The same for regular files alone: Error{input} for a pipe, a device or a folder, which is not waited for.
std::string read_regular_text(const std::string& path, const ReadLimit& limit = {});

// One id; nothing for anything else.
std::optional<int32_t> parse_id(std::string_view word);

// Whitespace-separated ids. Throws Error{input} with `name`, line and what was found for anything else, and when there
// are none.
std::vector<int32_t> parse_ids(std::string_view text, const std::string& name);

// How messages call the file.
std::string shown_path(const std::string& path);

}  // namespace flashmoe
