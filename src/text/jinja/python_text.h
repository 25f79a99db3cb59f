// What Python's str does, on UTF-8: positions are code points. A byte that is no UTF-8 counts as one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe::jinja {

std::vector<std::string_view> code_points(std::string_view text);
size_t length(std::string_view text);
uint32_t decode(std::string_view code_point);
bool is_space(uint32_t code_point);
bool is_cased(uint32_t code_point);

// `characters` empty: white space.
std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left, bool right);
// `limit` < 0: no limit. No separator: at runs of white space. The separator is not empty.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator, int64_t limit);
std::vector<std::string_view> split_right(std::string_view text, std::optional<std::string_view> separator,
                                          int64_t limit);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
size_t count(std::string_view text, std::string_view part);
size_t count_words(std::string_view text);  // runs of letters, digits and _
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);        // str.title()
std::string title_words(std::string_view text);  // the filter title: words begin after spaces, -, brackets
bool is_upper(std::string_view text);
bool is_lower(std::string_view text);

}  // namespace flashmoe::jinja
