#include <fmt/format.h>

#include "base/error.h"
#include "text/pre_tokenizer.h"
#include "text/unicode_tables.h"

namespace flashmoe {
namespace {

// Unicode's White_Space, inside a class. PCRE2's own \s adds U+180E.
constexpr std::string_view kWhiteSpace =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotWhiteSpace =
    R"(\x{00}-\x{08}\x{0e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{d7ff}\x{e000}-\x{10ffff})";

// A category as members of a class, with the characters that older versions of PCRE2 do not know.
std::string with_recent(std::string_view property, std::string_view categories) {
  std::string members(property);
  for (const char category : categories) {
    for (const CodePointRange& range : recent_characters(category)) {
      members +=
          fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<uint32_t>(range.first), static_cast<uint32_t>(range.last));
    }
  }
  return members;
}

std::string word_characters() { return with_recent(R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})", "LMD"); }

class PatternTranslator {
 public:
  explicit PatternTranslator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else {
        copy(1);
        if (c == '[') open_class();
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(Fault::unsupported, "tokenizer pattern \"{}\": {} is not supported", pattern_, what);
  }

  void copy(size_t n) {
    out_ += pattern_.substr(at_, n);
    at_ += n;
  }

  // A bracket that comes first in a class is a character of it.
  void open_class() {
    in_class_ = true;
    if (at_ < pattern_.size() && pattern_[at_] == '^') copy(1);
    if (at_ < pattern_.size() && pattern_[at_] == ']') copy(1);
  }

  void class_character(char c) {
    const std::string_view rest = pattern_.substr(at_);
    if (c == '[') refuse("a class in a class");
    if (rest.starts_with("&&")) refuse("&& in a class");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void put_class(std::string_view members) {
    if (in_class_) {
      out_ += members;
    } else {
      out_ += fmt::format("[{}]", members);
    }
  }

  void put_not_class(std::string_view members, std::string_view what) {
    if (in_class_) refuse(what);
    out_ += fmt::format("[^{}]", members);
  }

  void escape() {
    if (at_ + 1 == pattern_.size()) refuse("a backslash at the end");
    const char letter = pattern_[at_ + 1];
    if ((letter == 'p' || letter == 'P') && property(letter)) return;
    switch (letter) {
      case 's':
        put_class(kWhiteSpace);
        break;
      case 'S':
        put_class(kNotWhiteSpace);
        break;
      case 'w':
        put_class(word_characters());
        break;
      case 'W':
        put_not_class(word_characters(), "\\W in a class");
        break;
      case 'd':
        put_class(with_recent("\\p{Nd}", "D"));
        break;
      case 'D':
        put_not_class(with_recent("\\p{Nd}", "D"), "\\D in a class");
        break;
      case 'h':  // hexadecimal digits there, horizontal space here
        put_class("0-9a-fA-F");
        break;
      case 'H':
        put_not_class("0-9a-fA-F", "\\H in a class");
        break;
      default:
        return copy(2);
    }
    at_ += 2;
  }

  // \p{L}, \p{M} and \p{N}; PCRE2 reads the others as they are.
  bool property(char letter) {
    const std::string_view rest = pattern_.substr(at_ + 2);
    if (rest.size() < 3 || rest[0] != '{' || rest[2] != '}') return false;
    const char category = rest[1];
    if (std::string_view("LMN").find(category) == std::string_view::npos) return false;
    if (letter == 'P' && in_class_) return false;
    const std::string members = with_recent(fmt::format("\\p{{{}}}", category), std::string_view(&category, 1));
    if (letter == 'p') {
      put_class(members);
    } else {
      put_not_class(members, "\\P");
    }
    at_ += 5;
    return true;
  }

  std::string_view pattern_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern) { return PatternTranslator(pattern).run(); }

}  // namespace flashmoe
