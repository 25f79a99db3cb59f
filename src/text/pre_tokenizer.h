// Splits text into the pieces that are encoded on their own.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

// A pattern in the dialect of tokenizer.json (Oniguruma, Ruby syntax, Unicode 16) as one for PCRE2 in UTF and UCP mode.
// Throws Error{unsupported} for syntax that the two read differently.
std::string pcre2_pattern(std::string_view pattern);

class PreTokenizer {
 public:
  struct Split {
    std::string pattern;
    bool literal = false;  // the text itself, not a regular expression
  };

  // The splits are applied one after the other, each to the pieces of the one before. Throws Error{unsupported} for a
  // pattern that does not compile, with its reason.
  explicit PreTokenizer(const std::vector<Split>& splits);
  ~PreTokenizer();
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;

  // Appends the pieces of `text` (well-formed UTF-8): every match, and what lies between matches. Throws Error{input}
  // when the pattern needs more work or memory than it is granted.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Compiled;
  std::vector<std::unique_ptr<Compiled>> compiled_;
};

}  // namespace flashmoe
