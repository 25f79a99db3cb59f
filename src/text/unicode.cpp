#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "text/unicode_tables.h"

namespace flashmoe {
namespace {

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Everything below has canonical class 0, does not decompose and does not compose with what stands before it.
bool is_inert(char32_t c) { return c < 0x300 || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3); }

// Decomposed characters of one run between characters unknown to the reference, put in order and composed.
class Composer {
 public:
  explicit Composer(std::string& out) : out_(out) {}

  void add(char32_t c) {
    utf8proc_int32_t parts[8];
    int boundary = 0;
    const utf8proc_ssize_t n =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 8, UTF8PROC_DECOMPOSE, &boundary);
    CHECK(n >= 0 && n <= 8);
    for (utf8proc_ssize_t i = 0; i < n; ++i) run_.push_back(parts[i]);
  }

  void flush() {
    if (run_.empty()) return;
    sort_marks();
    const utf8proc_ssize_t n =
        utf8proc_normalize_utf32(run_.data(), static_cast<utf8proc_ssize_t>(run_.size()),
                                 static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    CHECK(n >= 0);
    for (utf8proc_ssize_t i = 0; i < n; ++i) {
      append_utf8(out_, static_cast<char32_t>(run_[static_cast<size_t>(i)]));
    }
    run_.clear();
  }

 private:
  static int mark_class(int32_t c) { return utf8proc_get_property(c)->combining_class; }

  // utf8proc's own ordering takes quadratic time in the length of a run of marks.
  void sort_marks() {
    for (size_t i = 0; i < run_.size(); ++i) {
      if (mark_class(run_[i]) == 0) continue;
      size_t end = i + 1;
      while (end < run_.size() && mark_class(run_[end]) != 0) ++end;
      const auto first = run_.begin();
      std::stable_sort(first + static_cast<std::ptrdiff_t>(i), first + static_cast<std::ptrdiff_t>(end),
                       [](int32_t a, int32_t b) { return mark_class(a) < mark_class(b); });
      i = end;
    }
  }

  std::string& out_;
  std::vector<int32_t> run_;
};

constexpr std::array<char16_t, 256> byte_characters() {
  std::array<char16_t, 256> table{};
  char16_t next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    table[byte] = printable ? static_cast<char16_t>(byte) : next++;
  }
  return table;
}

std::array<int16_t, 512> bytes_by_character() {
  std::array<int16_t, 512> table{};
  table.fill(-1);
  const auto characters = byte_characters();
  for (size_t byte = 0; byte < 256; ++byte) table[characters[byte]] = static_cast<int16_t>(byte);
  return table;
}

bool decode_byte_level(std::string_view token, std::string& bytes) {
  static const std::array<int16_t, 512> kBytes = bytes_by_character();
  for (size_t at = 0; at < token.size();) {
    const Utf8Part part = next_utf8(token.substr(at));
    if (part.kind != Utf8Kind::character || part.code_point >= kBytes.size()) return false;
    const int16_t byte = kBytes[part.code_point];
    if (byte < 0) return false;
    bytes.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
    at += part.n_bytes;
  }
  return true;
}

}  // namespace

constinit const std::array<char16_t, 256> kByteCharacters = byte_characters();

Utf8Part next_utf8(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {Utf8Kind::character, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Kind::invalid, 1, 0};
  const uint8_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0x7Fu >> length);
  for (uint8_t i = 1; i < length; ++i) {
    if (i >= text.size()) return {Utf8Kind::incomplete, i, 0};
    const bool good = i == 1 ? at(1) >= low && at(1) <= high : is_continuation(at(i));
    if (!good) return {Utf8Kind::invalid, i, 0};
    code_point = code_point << 6 | (at(i) & 0x3Fu);
  }
  return {Utf8Kind::character, length, code_point};
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

size_t append_valid_utf8(std::string_view bytes, bool last, std::string& out) {
  size_t copied = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    const Utf8Part part = next_utf8(bytes.substr(at));
    if (part.kind != Utf8Kind::character) {
      out.append(bytes.substr(copied, at - copied));
      copied = at;
      if (part.kind == Utf8Kind::incomplete && !last) return at;
      out.append("\xEF\xBF\xBD");
      copied = at + part.n_bytes;
    }
    at += part.n_bytes;
  }
  out.append(bytes.substr(copied));
  return bytes.size();
}

std::string_view valid_utf8(std::string_view text, std::string& storage) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;
    while (at + 8 <= text.size()) {
      std::memcpy(&eight, text.data() + at, 8);
      if ((eight & 0x8080808080808080u) != 0) break;
      at += 8;
    }
    if (at == text.size()) break;
    const Utf8Part part = next_utf8(text.substr(at));
    if (part.kind != Utf8Kind::character) {
      storage.clear();
      append_valid_utf8(text, true, storage);
      return storage;
    }
    at += part.n_bytes;
  }
  return text;
}

std::string_view nfc(std::string_view text, std::string& storage) {
  bool plain = true;
  for (size_t at = 0; at < text.size() && plain;) {
    const Utf8Part part = next_utf8(text.substr(at));
    plain = is_inert(part.code_point);
    at += part.n_bytes;
  }
  if (plain) return text;
  storage.clear();
  storage.reserve(text.size());
  Composer composer(storage);
  for (size_t at = 0; at < text.size();) {
    const Utf8Part part = next_utf8(text.substr(at));
    // utf8proc 2.8 takes U+11A7, the code point before the first trailing consonant of Hangul, for one.
    if (part.code_point == 0x11A7 || unknown_to_reference_nfc(part.code_point)) {
      composer.flush();
      append_utf8(storage, part.code_point);
    } else {
      composer.add(part.code_point);
    }
    at += part.n_bytes;
  }
  composer.flush();
  return storage;
}

std::string bytes_of_token(std::string_view token) {
  std::string bytes;
  return decode_byte_level(token, bytes) ? bytes : std::string(token);
}

bool is_byte_level(std::string_view token) {
  std::string bytes;
  return decode_byte_level(token, bytes);
}

}  // namespace flashmoe
