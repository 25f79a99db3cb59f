// UTF-8, canonical composition, and the byte alphabet of byte-level BPE.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace flashmoe {

enum class Utf8Kind {
  character,  // well-formed
  invalid,    // a maximal ill-formed part: what one U+FFFD stands for
  incomplete  // the text ends inside what could still become a character
};

struct Utf8Part {
  Utf8Kind kind;
  uint8_t n_bytes;
  char32_t code_point;  // of a character
};

// The part at the start of `text`, which is not empty.
Utf8Part next_utf8(std::string_view text);

void append_utf8(std::string& out, char32_t code_point);

// Appends `bytes` to `out` with U+FFFD for each ill-formed part, as Python's errors="replace" does, and returns how
// many bytes were taken: all of them, or, unless `last`, all but an incomplete character at the end.
size_t append_valid_utf8(std::string_view bytes, bool last, std::string& out);

// The text with ill-formed parts replaced: `text` itself when there are none, else a view of `storage`.
std::string_view valid_utf8(std::string_view text, std::string& storage);

// Unicode normal form C of well-formed UTF-8: `text` itself when it plainly is in that form, else a view of `storage`.
// Characters that the reference library's tables do not know (unicode_tables.h) neither compose nor reorder.
std::string_view nfc(std::string_view text, std::string& storage);

// Byte-level BPE writes each byte as one printable character: kByteCharacters[byte].
extern const std::array<char16_t, 256> kByteCharacters;

// The bytes that `token`, written in that alphabet, stands for. A token with any other character stands for itself.
std::string bytes_of_token(std::string_view token);
bool is_byte_level(std::string_view token);  // wholly written in that alphabet

}  // namespace flashmoe
