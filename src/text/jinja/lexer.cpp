#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace flashmoe::jinja {

void fail_at(int line, std::string_view message) { fail(Fault::input, "chat template, line {}: {}", line, message); }

namespace {

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) root();
    add(Token::Kind::end, {});
    return std::move(tokens_);
  }

 private:
  using Kind = Token::Kind;

  bool at(std::string_view text) const { return std::string_view(source_).substr(pos_, text.size()) == text; }
  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(size_t n) {
    const auto begin = source_.begin() + static_cast<std::ptrdiff_t>(pos_);
    line_ += static_cast<int>(std::count(begin, begin + static_cast<std::ptrdiff_t>(n), '\n'));
    pos_ += n;
  }
  void skip_space() {
    const std::string_view rest = std::string_view(source_).substr(pos_);
    advance(rest.size() - strip(rest, {}, true, false).size());
  }
  // Text before a tag whose sign is '-', '+' or 0; `strips_line`: white space from the line's start to the tag goes.
  void add_data(std::string_view text, char sign, bool strips_line) {
    std::string_view kept = text;
    if (sign == '-') {
      kept = strip(text, {}, false, true);
    } else if (sign != '+' && strips_line) {
      const size_t line_start = text.rfind('\n') + 1;  // 0 when there is none
      if ((line_start > 0 || line_starting_) && strip(text.substr(line_start), {}, true, false).empty()) {
        kept = text.substr(0, line_start);
      }
    }
    if (!kept.empty()) add(Kind::data, std::string(kept));
    advance(text.size());
  }
  // After a tag's closing braces: "-" eats white space, a plain block end eats one newline.
  void close(size_t n, char sign, bool trims) {
    const size_t start = pos_;
    advance(n);
    if (sign == '-') {
      skip_space();
    } else if (trims && sign != '+' && at("\n")) {
      advance(1);
    }
    line_starting_ = pos_ > start && source_[pos_ - 1] == '\n';
  }

  void root();
  bool raw(size_t tag, std::string_view before, char sign);
  void comment();
  void tag(bool block);
  bool tag_end(bool block);
  void token();
  void number();
  void string();
  void escape(std::string& out);
  void symbol();

  std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was consumed last ended in a newline
  std::string open_;           // brackets awaiting their partner
  std::vector<Token> tokens_;
};

void Lexer::root() {
  size_t tag_at = pos_;
  while (true) {
    tag_at = source_.find('{', tag_at);
    if (tag_at == std::string::npos) {
      add(Kind::data, source_.substr(pos_));
      advance(source_.size() - pos_);
      return;
    }
    const char next = tag_at + 1 < source_.size() ? source_[tag_at + 1] : '\0';
    if (next == '{' || next == '%' || next == '#') break;
    ++tag_at;
  }
  const std::string before = source_.substr(pos_, tag_at - pos_);
  const char kind = source_[tag_at + 1];
  const char after = tag_at + 2 < source_.size() ? source_[tag_at + 2] : '\0';
  const char sign = after == '-' || after == '+' ? after : '\0';
  if (kind == '%' && raw(tag_at + (sign ? 3 : 2), before, sign)) return;
  add_data(before, sign, kind != '{');
  advance(sign ? 3 : 2);
  line_starting_ = false;
  if (kind == '#') return comment();
  add(kind == '%' ? Kind::block_begin : Kind::print_begin, {});
  tag(kind == '%');
}

void Lexer::comment() {
  const size_t end = source_.find("#}", pos_);
  if (end == std::string::npos) fail_at(line_, "a comment is not closed with #}");
  const char sign = end > pos_ && (source_[end - 1] == '-' || source_[end - 1] == '+') ? source_[end - 1] : '\0';
  advance(end - pos_);
  close(2, sign, true);
}

// {% raw %}: everything up to {% endraw %} is text. `inside`: just behind the braces and sign. False for another tag.
bool Lexer::raw(size_t inside, std::string_view before, char sign) {
  const auto skip = [&](size_t at) {
    while (at < source_.size() && is_space(static_cast<unsigned char>(source_[at]))) ++at;
    return at;
  };
  const auto word = [&](size_t at, std::string_view text) { return source_.compare(at, text.size(), text) == 0; };
  const size_t name = skip(inside);
  if (!word(name, "raw")) return false;
  const size_t end = skip(name + 3);
  const bool strips = word(end, "-%}");
  if (!strips && !word(end, "%}")) return false;
  const int opened = line_;
  add_data(before, sign, true);
  advance(end - pos_);
  close(strips ? 3 : 2, strips ? '-' : '\0', false);
  for (size_t tag_at = source_.find("{%", pos_); tag_at != std::string::npos; tag_at = source_.find("{%", tag_at + 1)) {
    const char c = tag_at + 2 < source_.size() ? source_[tag_at + 2] : '\0';
    const char end_sign = c == '-' || c == '+' ? c : '\0';
    const size_t end_name = skip(tag_at + (end_sign ? 3 : 2));
    if (!word(end_name, "endraw")) continue;
    const size_t close_at = skip(end_name + 6);
    const bool signed_close = word(close_at, "-%}") || word(close_at, "+%}");
    if (!signed_close && !word(close_at, "%}")) continue;
    add_data(source_.substr(pos_, tag_at - pos_), end_sign, true);
    advance(close_at - pos_);
    close(signed_close ? 3 : 2, signed_close ? source_[close_at] : '\0', true);
    return true;
  }
  if (pos_ == source_.size()) return true;  // as the reference has it
  fail_at(opened, "raw is not closed with endraw");
}

bool Lexer::tag_end(bool block) {
  if (!open_.empty()) return false;
  const std::string_view end = block ? "%}" : "}}";
  const char c = source_[pos_];
  const bool has_sign = (c == '-' || (block && c == '+')) && std::string_view(source_).substr(pos_ + 1, 2) == end;
  if (!has_sign && !at(end)) return false;
  add(block ? Kind::block_end : Kind::print_end, {});
  close(has_sign ? 3 : 2, has_sign ? c : '\0', block);
  return true;
}

void Lexer::tag(bool block) {
  const int opened = line_;
  while (true) {
    if (pos_ >= source_.size()) fail_at(opened, block ? "a tag is not closed with %}" : "a tag is not closed with }}");
    if (tag_end(block)) return;
    token();
  }
}

void Lexer::token() {
  const size_t start = pos_;
  skip_space();
  if (pos_ != start) return;
  const char c = source_[pos_];
  if (is_digit(c)) return number();
  if (c == '\'' || c == '"') return string();
  if (!is_name_start(c)) return symbol();
  size_t end = pos_;
  while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
  add(Kind::name, source_.substr(pos_, end - pos_));
  pos_ = end;
}

void Lexer::number() {
  size_t end = pos_;
  const auto digits = [&] {
    const size_t start = end;
    while (end < source_.size() && (is_digit(source_[end]) || (source_[end] == '_' && end > start))) ++end;
    while (end > start && source_[end - 1] == '_') --end;
    return end > start;
  };
  digits();
  bool real = false;
  const bool after_dot = pos_ > 0 && source_[pos_ - 1] == '.';
  if (!after_dot && end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
    ++end;
    real = digits();
  }
  if (!after_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
    const size_t mantissa_end = end++;
    if (end < source_.size() && (source_[end] == '-' || source_[end] == '+')) ++end;
    if (digits()) {
      real = true;
    } else {
      end = mantissa_end;
    }
  }
  std::string text = source_.substr(pos_, end - pos_);
  std::erase(text, '_');
  add(real ? Kind::real : Kind::integer, std::move(text));
  pos_ = end;
}

void Lexer::string() {
  const char quote = source_[pos_];
  const int opened = line_;
  std::string out;
  advance(1);
  while (true) {
    if (pos_ >= source_.size()) fail_at(opened, "a string is not closed");
    const char c = source_[pos_];
    if (c == quote) break;
    if (c == '\\') {
      escape(out);
    } else {
      out += c;
      advance(1);
    }
  }
  tokens_.push_back({Kind::string, std::move(out), opened});
  advance(1);
}

void Lexer::escape(std::string& out) {
  static constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
  if (pos_ + 1 >= source_.size()) return advance(1);
  const char c = source_[pos_ + 1];
  if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
    out += kMeanings[i];
    return advance(2);
  }
  const bool hex = c == 'x' || c == 'u' || c == 'U';
  if (hex || (c >= '0' && c <= '7')) {
    const size_t start = pos_ + (hex ? 2 : 1), wanted = !hex ? 3 : c == 'x' ? 2 : c == 'u' ? 4 : 8;
    uint32_t value = 0;
    const char* begin = source_.data() + start;
    const char* limit = source_.data() + std::min(source_.size(), start + wanted);
    const auto n = static_cast<size_t>(std::from_chars(begin, limit, value, hex ? 16 : 8).ptr - begin);
    if ((hex && n != wanted) || value > 0x10FFFF) fail_at(line_, "a character escape in a string is malformed");
    append_utf8(out, value);
    return advance(start - pos_ + n);
  }
  if (c == 'N') fail_at(line_, "\\N{...} in strings is not supported");
  if (c != '\n') out.append({'\\', c});
  advance(2);
}

void Lexer::symbol() {
  static constexpr std::array<std::string_view, 26> kSymbols = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
  const auto found = std::find_if(kSymbols.begin(), kSymbols.end(), [&](std::string_view s) { return at(s); });
  if (found == kSymbols.end()) fail_at(line_, fmt::format("unexpected character '{}'", source_[pos_]));
  const char c = (*found)[0];
  if (c == '(' || c == '[' || c == '{') open_ += c == '(' ? ')' : c == '[' ? ']' : '}';
  if (c == ')' || c == ']' || c == '}') {
    if (open_.empty() || open_.back() != c) fail_at(line_, fmt::format("'{}' closes nothing", c));
    open_.pop_back();
  }
  add(Kind::symbol, std::string(*found));
  pos_ += found->size();
}

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace flashmoe::jinja
