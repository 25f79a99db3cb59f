#include "sampling/grammar/pattern_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "sampling/grammar/char_dfa.h"

namespace flashmoe {
namespace {

using Kind = PatternTree::Kind;

constexpr size_t kMaxLength = 4096;
constexpr int kMaxGroups = 50;  // inside each other

CharSet normal(CharSet set) {
  std::sort(set.begin(), set.end());
  CharSet out;
  for (const auto& [low, high] : set) {
    if (!out.empty() && low <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, high);
    } else {
      out.emplace_back(low, high);
    }
  }
  return out;
}

CharSet complement(const CharSet& set) {
  CharSet out;
  char32_t low = 0;
  for (const auto& [first, last] : set) {
    if (low < first) out.emplace_back(low, first - 1);
    low = last + 1;
  }
  if (low <= CharDfa::kLast) out.emplace_back(low, CharDfa::kLast);
  return out;
}

const CharSet kDigits = {{'0', '9'}};
const CharSet kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharSet kSpace = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                        {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CharSet kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class Parser {
 public:
  explicit Parser(std::string_view pattern) {
    if (pattern.size() > kMaxLength) refuse(fmt::format("it is longer than {} bytes", kMaxLength));
    for (size_t at = 0; at < pattern.size();) text_.push_back(take_character(pattern, at));
  }

  PatternTree parse() {
    PatternTree tree = choice(0);
    if (!done()) refuse("a ')' has no '('");
    return tree;
  }

 private:
  [[noreturn]] static void refuse(std::string reason) { throw PatternRefused{std::move(reason)}; }
  bool done() const { return at_ == text_.size(); }
  char32_t peek() const { return done() ? 0 : text_[at_]; }
  char32_t take() {
    if (done()) refuse("it ends too soon");
    return text_[at_++];
  }
  bool take_if(char32_t c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  PatternTree choice(int depth) {
    if (depth > kMaxGroups) refuse(fmt::format("groups are more than {} deep", kMaxGroups));
    PatternTree tree;
    tree.kind = Kind::choice;
    do {
      tree.parts.push_back(sequence(depth));
    } while (take_if('|'));
    return tree;
  }

  PatternTree sequence(int depth) {
    PatternTree tree;
    while (!done() && peek() != '|' && peek() != ')') {
      PatternTree part = atom(depth);
      const bool assertion = part.kind == Kind::at_start || part.kind == Kind::at_end;
      if (auto times = quantifier()) {
        if (assertion) refuse("an anchor is repeated");
        PatternTree repeat;
        repeat.kind = Kind::repeat;
        std::tie(repeat.least, repeat.most) = *times;
        repeat.parts.push_back(std::move(part));
        part = std::move(repeat);
      }
      tree.parts.push_back(std::move(part));
    }
    return tree;
  }

  std::optional<std::pair<int, int>> quantifier() {
    std::optional<std::pair<int, int>> times;
    const size_t before = at_;
    if (take_if('*')) {
      times = {0, PatternTree::kUnlimited};
    } else if (take_if('+')) {
      times = {1, PatternTree::kUnlimited};
    } else if (take_if('?')) {
      times = {0, 1};
    } else if (take_if('{')) {
      const auto least = count();
      auto most = least;
      if (least && take_if(',')) most = peek() == '}' ? PatternTree::kUnlimited : count();
      if (!least || !most || !take_if('}')) {
        at_ = before;
        refuse("a '{' that begins no quantifier must be written \\{");
      }
      if (*most != PatternTree::kUnlimited && *most < *least) refuse("a quantifier's numbers are out of order");
      times = {*least, *most};
    }
    if (times) take_if('?');  // lazy: the same texts
    return times;
  }

  std::optional<int> count() {
    std::optional<int> n;
    while (peek() >= '0' && peek() <= '9') {
      n = n.value_or(0) * 10 + static_cast<int>(take() - '0');
      if (*n > PatternTree::kMaxTimes) refuse(fmt::format("it repeats more than {} times", PatternTree::kMaxTimes));
    }
    return n;
  }

  PatternTree atom(int depth) {
    PatternTree tree;
    const char32_t c = take();
    switch (c) {
      case '^':
        tree.kind = Kind::at_start;
        return tree;
      case '$':
        tree.kind = Kind::at_end;
        return tree;
      case '(':
        if (take_if('?') && !take_if(':')) skip_group_name();
        tree = choice(depth + 1);
        if (!take_if(')')) refuse("a '(' is not closed");
        return tree;
      case '*':
      case '+':
      case '?':
      case '{':
        refuse("a quantifier stands behind nothing");
      default:
        tree.kind = Kind::set;
        tree.set = c == '[' ? bracket() : c == '.' ? complement(kLineEnds) : c == '\\' ? escape() : CharSet{{c, c}};
        return tree;
    }
  }

  void skip_group_name() {
    if (!take_if('<') || peek() == '=' || peek() == '!') refuse("look-around is not supported");
    while (take() != '>') {
    }
  }

  CharSet escape() {
    const char32_t c = take();
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return complement(kDigits);
      case 'w':
        return kWord;
      case 'W':
        return complement(kWord);
      case 's':
        return kSpace;
      case 'S':
        return complement(kSpace);
      default:
        return {{escaped(c), escaped_}};
    }
  }

  // The character that \c stands for; also in escaped_.
  char32_t escaped(char32_t c) {
    constexpr std::string_view kLetters = "tnrfv", kControls = "\t\n\r\f\v";
    const size_t control = c < 0x80 ? kLetters.find(static_cast<char>(c)) : std::string_view::npos;
    if (control != std::string_view::npos) return escaped_ = static_cast<char32_t>(kControls[control]);
    if (c == 'x') return escaped_ = hex(2);
    if (c == 'u') return escaped_ = hex(4);
    if (c == '0' && !(peek() >= '0' && peek() <= '9')) return escaped_ = 0;
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) refuse(fmt::format("\\{} is not supported", static_cast<char>(c)));
    return escaped_ = c;
  }

  char32_t hex(int n_digits) {
    char32_t value = 0;
    for (int i = 0; i < n_digits; ++i) {
      const char32_t c = take();
      const size_t digit = c < 0x80 ? std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20)) : 16;
      if (digit >= 16) refuse("\\x and \\u want hexadecimal digits");
      value = value * 16 + static_cast<char32_t>(digit);
    }
    if (value >= 0xD800 && value < 0xE000) refuse("surrogates are not supported: write the character itself");
    return value;
  }

  CharSet bracket() {
    const bool negated = take_if('^');
    CharSet set;
    while (!take_if(']')) {
      const CharSet first = member();
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        take();
        const CharSet last = member();
        if (!is_one(first) || !is_one(last) || first[0].first > last[0].first) refuse("a class has a bad range");
        set.emplace_back(first[0].first, last[0].first);
      } else {
        set.insert(set.end(), first.begin(), first.end());
      }
    }
    set = normal(std::move(set));
    return negated ? complement(set) : set;
  }
  static bool is_one(const CharSet& set) { return set.size() == 1 && set[0].first == set[0].second; }

  CharSet member() {
    const char32_t c = take();
    if (c != '\\') return {{c, c}};
    if (take_if('b')) return {{'\b', '\b'}};
    return escape();
  }

  std::u32string text_;
  size_t at_ = 0;
  char32_t escaped_ = 0;
};

}  // namespace

PatternTree parse_pattern(std::string_view pattern) { return Parser(pattern).parse(); }

}  // namespace flashmoe
