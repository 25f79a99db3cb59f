#include "chat/shown_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

namespace flashmoe {
namespace {

bool steers(int32_t code) {
  const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
  const bool direction = (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
  const bool line_end = code == 0x2028 || code == 0x2029;
  return control || direction || line_end;
}

}  // namespace

Character first_character(std::string_view text) {
  utf8proc_int32_t code = -1;
  const auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                  static_cast<utf8proc_ssize_t>(text.size()), &code);
  if (n <= 0) return {1, 1, -1};
  return {static_cast<size_t>(n), std::max(0, utf8proc_charwidth(code)), code};
}

int columns_of(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    columns += character.columns;
    text.remove_prefix(character.n_bytes);
  }
  return columns;
}

std::string harmless(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::string_view bytes = text.substr(0, character.n_bytes);
    text.remove_prefix(character.n_bytes);
    if (character.code < 0) {
      out += "\xEF\xBF\xBD";
    } else if (bytes == "\r" && !text.empty() && text[0] == '\n') {
      continue;
    } else if (bytes == "\n" || bytes == "\t" || !steers(character.code)) {
      out += bytes;
    } else {
      out +=
          character.code < 0x100 ? fmt::format("\\x{:02x}", character.code) : fmt::format("\\u{:04x}", character.code);
    }
  }
  return out;
}

std::string shortened(std::string_view text, int columns) {
  std::string line = harmless(text);
  for (char& byte : line) {
    if (byte == '\n' || byte == '\t') byte = ' ';
  }
  if (columns_of(line) <= columns) return line;
  size_t end = 0;
  for (int used = 0; end < line.size();) {
    const Character character = first_character(std::string_view(line).substr(end));
    if (used + character.columns > columns - 3) break;
    used += character.columns;
    end += character.n_bytes;
  }
  return line.substr(0, end) + "...";
}

}  // namespace flashmoe
