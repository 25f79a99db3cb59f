// Where the Unicode versions of PCRE2, utf8proc and the reference tokenizer library part.
#pragma once

#include <cstdint>
#include <span>

namespace flashmoe {

struct CodePointRange {
  char32_t first, last;
};

// Characters of general category L, M, N or (D) decimal digit added by Unicode 15 to 16, which the reference's patterns
// know and PCRE2 knows from version 10.45 on; empty for any other letter.
std::span<const CodePointRange> recent_characters(char category);

// The reference composes by Unicode 9: later characters neither decompose, compose nor reorder.
bool unknown_to_reference_nfc(char32_t c);

}  // namespace flashmoe
