#include "text/jinja/python_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "text/jinja/value.h"
#include "text/unicode.h"

namespace flashmoe::jinja {

namespace {

size_t width(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t n = lead < 0x80 ? 1 : lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1;
  if (n > text.size()) return 1;
  for (size_t i = 1; i < n; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return n;
}

// The last code point of `text`, which is not empty.
std::string_view last(std::string_view text) {
  for (size_t n = 2; n <= std::min<size_t>(4, text.size()); ++n) {
    const std::string_view tail = text.substr(text.size() - n);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0xC0)
      return width(tail) == n ? tail : text.substr(text.size() - 1);
  }
  return text.substr(text.size() - 1);
}

bool is_line_end(uint32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

// Upper cases longer than one code point, for the letters that occur in practice.
const char* long_upper(uint32_t c) {
  switch (c) {
    case 0xDF:
      return "SS";
    case 0x149:
      return "\xCA\xBCN";
    case 0xFB00:
      return "FF";
    case 0xFB01:
      return "FI";
    case 0xFB02:
      return "FL";
    case 0xFB03:
      return "FFI";
    case 0xFB04:
      return "FFL";
    case 0xFB05:
    case 0xFB06:
      return "ST";
    default:
      return nullptr;
  }
}

enum class Case : uint8_t { upper, lower, title };

void append_cased(std::string& out, std::string_view code_point, Case wanted) {
  const uint32_t c = decode(code_point);
  if (c == 0xFFFFFFFF) {
    out += code_point;
    return;
  }
  if (const char* text = wanted == Case::lower ? nullptr : long_upper(c)) {
    out += wanted == Case::title ? std::string(1, text[0]) + lower(text + 1) : std::string(text);
    return;
  }
  if (wanted == Case::lower && c == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  const auto from = static_cast<utf8proc_int32_t>(c);
  const auto to = wanted == Case::upper   ? utf8proc_toupper(from)
                  : wanted == Case::lower ? utf8proc_tolower(from)
                                          : utf8proc_totitle(from);
  append_utf8(out, static_cast<uint32_t>(to));
}

bool is_upper_letter(uint32_t c) {
  const auto kind = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return kind == UTF8PROC_CATEGORY_LU;
}

}  // namespace

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t n = width(text);
    out.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return out;
}

size_t length(std::string_view text) {
  size_t n = 0;
  for (; !text.empty(); ++n) text.remove_prefix(width(text));
  return n;
}

uint32_t decode(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(s[i])); };
  switch (s.size()) {
    case 1:
      return byte(0) < 0x80 ? byte(0) : 0xFFFFFFFF;
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    default:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  }
}

bool is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_cased(uint32_t c) {
  const auto kind = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT;
}

std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left, bool right) {
  const auto matches = [&](std::string_view c) {
    return characters ? characters->find(c) != std::string_view::npos : is_space(decode(c));
  };
  while (left && !text.empty() && matches(text.substr(0, width(text)))) text.remove_prefix(width(text));
  while (right && !text.empty() && matches(last(text))) text.remove_suffix(last(text).size());
  return text;
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator, int64_t limit) {
  std::vector<std::string_view> parts;
  if (separator) {
    for (size_t at = 0; limit != 0 && (at = text.find(*separator)) != std::string_view::npos; --limit) {
      parts.push_back(text.substr(0, at));
      text.remove_prefix(at + separator->size());
    }
    parts.push_back(text);
    return parts;
  }
  for (text = strip(text, {}, true, false); !text.empty(); text = strip(text, {}, true, false)) {
    if (limit-- == 0) {
      parts.push_back(strip(text, {}, false, true));
      break;
    }
    size_t end = 0;
    while (end < text.size() && !is_space(decode(text.substr(end, width(text.substr(end))))))
      end += width(text.substr(end));
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split_right(std::string_view text, std::optional<std::string_view> separator,
                                          int64_t limit) {
  std::vector<std::string_view> parts;
  if (separator) {
    for (size_t at = 0; limit != 0 && (at = text.rfind(*separator)) != std::string_view::npos; --limit) {
      parts.push_back(text.substr(at + separator->size()));
      text = text.substr(0, at);
    }
    parts.push_back(text);
  } else {
    for (text = strip(text, {}, false, true); !text.empty(); text = strip(text, {}, false, true)) {
      if (limit-- == 0) {
        parts.push_back(strip(text, {}, true, false));
        break;
      }
      size_t start = text.size();
      while (start > 0 && !is_space(decode(last(text.substr(0, start))))) start -= last(text.substr(0, start)).size();
      parts.push_back(text.substr(start));
      text = text.substr(0, start);
    }
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    size_t end = 0, ending = 0;
    while (end < text.size() && ending == 0) {
      const size_t n = width(text.substr(end));
      if (is_line_end(decode(text.substr(end, n)))) {
        ending = text.substr(end, 2) == "\r\n" ? 2 : n;
      } else {
        end += n;
      }
    }
    lines.push_back(text.substr(0, keep_ends ? end + ending : end));
    text.remove_prefix(end + ending);
  }
  return lines;
}

size_t count(std::string_view text, std::string_view part) {
  if (part.empty()) return length(text) + 1;
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) ++n;
  return n;
}

size_t count_words(std::string_view text) {
  size_t n = 0;
  bool inside = false;
  for (std::string_view s : code_points(text)) {
    const uint32_t c = decode(s);
    const auto kind = c == 0xFFFFFFFF ? UTF8PROC_CATEGORY_CN : utf8proc_category(static_cast<utf8proc_int32_t>(c));
    const bool letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
    const bool digit = kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
    const bool word = c == '_' || letter || digit;
    if (word && !inside) ++n;
    inside = word;
  }
  return n;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit) {
  std::string out;
  if (from.empty()) {
    for (std::string_view c : code_points(text)) {
      if (limit-- != 0)
        out += to;
      else
        limit = 0;
      out += c;
    }
    if (limit != 0) out += to;
    return out;
  }
  for (size_t at = 0; limit != 0 && (at = text.find(from)) != std::string_view::npos; --limit) {
    out.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return out.append(text);
}

std::string upper(std::string_view text) {
  std::string out;
  for (std::string_view c : code_points(text)) append_cased(out, c, Case::upper);
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  const auto points = code_points(text);
  for (size_t i = 0; i < points.size(); ++i) {
    // A capital sigma that ends a word has its own small letter.
    const bool sigma = decode(points[i]) == 0x3A3 && i > 0 && is_cased(decode(points[i - 1])) &&
                       (i + 1 == points.size() || !is_cased(decode(points[i + 1])));
    if (sigma) {
      append_utf8(out, 0x3C2);
    } else {
      append_cased(out, points[i], Case::lower);
    }
  }
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  std::string out;
  append_cased(out, text.substr(0, width(text)), Case::title);
  return out + lower(text.substr(width(text)));
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (std::string_view c : code_points(text)) {
    append_cased(out, c, inside ? Case::lower : Case::title);
    inside = is_cased(decode(c));
  }
  return out;
}

std::string title_words(std::string_view text) {
  std::string out, word;
  const auto flush = [&] {
    if (!word.empty()) {
      const size_t n = width(word);
      out += upper(std::string_view(word).substr(0, n)) + lower(std::string_view(word).substr(n));
    }
    word.clear();
  };
  for (std::string_view c : code_points(text)) {
    const bool breaks =
        is_space(decode(c)) || (c.size() == 1 && std::string_view("-({[<").find(c) != std::string_view::npos);
    if (breaks) flush();
    (breaks ? out : word) += c;
  }
  flush();
  return out;
}

bool is_upper(std::string_view text) {
  bool cased = false;
  for (std::string_view c : code_points(text)) {
    if (!is_cased(decode(c))) continue;
    if (!is_upper_letter(decode(c))) return false;
    cased = true;
  }
  return cased;
}

bool is_lower(std::string_view text) {
  bool cased = false;
  for (std::string_view c : code_points(text)) {
    if (!is_cased(decode(c))) continue;
    if (utf8proc_category(static_cast<utf8proc_int32_t>(decode(c))) != UTF8PROC_CATEGORY_LL) return false;
    cased = true;
  }
  return cased;
}

std::string repr_string(std::string_view text) {
  const bool doubles = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubles ? '"' : '\'';
  std::string out(1, quote);
  for (std::string_view s : code_points(text)) {
    const uint32_t c = decode(s);
    const auto kind = c == 0xFFFFFFFF ? UTF8PROC_CATEGORY_CN : utf8proc_category(static_cast<utf8proc_int32_t>(c));
    const bool hidden = c != ' ' && (kind == UTF8PROC_CATEGORY_CN || kind >= UTF8PROC_CATEGORY_ZS);
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      out.append("\\").append(s);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (!hidden) {
      out += s;
    } else if (c < 0x100) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", c);
    } else if (c < 0x10000) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    } else if (c != 0xFFFFFFFF) {
      fmt::format_to(std::back_inserter(out), "\\U{:08x}", c);
    } else {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(s[0]));
    }
  }
  return out + quote;
}

}  // namespace flashmoe::jinja
